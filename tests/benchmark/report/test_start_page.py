"""The start page over all experiments.

After ten seconds of it, someone who has never seen the project should be able to say:

1. "DynaLay (or another method) is ahead, or level with the best, on so many datasets when all may spend the same."
2. "Adaptive networks beat static ones on these datasets by this much at most, and are level with them on those."
3. "Of the paper's claims, so many hold everywhere, so many somewhere, so many nowhere, and so many are open."

They are the three sentences at its top, made from the numbers alone.
"""

import json
import re

import pytest

from benchmark import __main__ as command_line
from benchmark.report.start import VERSION, read, start_page, summary
from tests.benchmark.report.browsing import FAINT_TEXT, UNNAMED, reachable, set_size, texts


@pytest.fixture
def start(open_page, results):
    return open_page(results / "index.html")


def test_three_sentences_say_what_was_found(start):
    leaders, adaptive, claims = texts(start, "#findings li")
    assert re.search(r"^At equal compute, .* ahead or level with the best on \d of 2 leaderboards", leaders)
    assert re.search(r"^On all 2 leaderboards with static and adaptive networks, .*\.$", adaptive)
    assert re.search(r"^Claims of the DynaLay paper: \d ", claims)
    fold = start.execute_script("return document.querySelector('#findings').getBoundingClientRect().bottom")
    assert fold < 844  # seen without scrolling


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_can_be_read_on_any_screen(start, width, theme):
    set_size(start, width)
    start.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    assert start.execute_script("const p = document.documentElement; return p.scrollWidth - p.clientWidth") == 0
    assert start.execute_script(FAINT_TEXT) == []
    assert start.execute_script(UNNAMED) == []
    assert reachable(start) < 60


def test_a_leaderboard_marks_who_is_first_and_who_ties(start):
    assert texts(start, ".board caption b") == ["maze", "digits"]
    assert "1.7 points" in texts(start, ".board caption")[0]  # one of 60 test samples
    headings = texts(start, ".board thead th")[:6]
    assert headings == ["method", "within 50%", "within 75%", "within 100%", "MACs there", "ms there"]
    places = set(texts(start, ".board .unseen"))
    assert places <= {"first", "tie"}
    assert places
    assert any("seeds" in text for text in texts(start, ".board .hole"))  # the runs that are missing


def test_boards_of_one_dataset_in_two_experiments_are_told_apart(tmp_path):
    for name, datasets in (("quick", ["maze", "digits"]), ("dials", ["maze"])):
        (tmp_path / name).mkdir()
        boards = [{"dataset": dataset, "rows": []} for dataset in datasets]
        content = {"version": VERSION, "name": name, "done": 1, "boards": boards}
        (tmp_path / name / "findings.json").write_text(json.dumps(content))
    experiments, unread = read(tmp_path)
    names = [board["dataset"] for experiment in experiments for board in experiment["boards"]]
    assert sorted(names) == ["digits", "maze in dials", "maze in quick"]
    assert not unread


def test_it_links_to_what_it_was_made_from(start, results):
    links = start.execute_script("return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert "synthetic/report.html" in links
    assert "synthetic/tables/main_results.csv" in links
    assert "https://arxiv.org/abs/2312.12781" in links
    assert "2 of 30 runs missing" in " ".join(texts(start, ".source"))


def test_the_verdict_board_shows_every_verdict(start, results):
    found = json.loads((results / "synthetic" / "verdicts.json").read_text())
    assert len(texts(start, ".claims .badge")) == len(found)


def test_a_folder_without_experiments_has_a_start_page(tmp_path):
    assert command_line.main(["report", "--results", str(tmp_path)]) == 0
    assert "No finding yet" in (tmp_path / "index.html").read_text(encoding="utf-8")


def board(dataset: str, **methods: tuple[float, str, bool]) -> dict:
    rows = [
        {"method": name, "static": static, "cells": [{"value": value, "place": place}]}
        for name, (value, place, static) in methods.items()
    ]
    return {"dataset": dataset, "rows": rows}


def experiment(*boards: dict, verdicts: tuple[tuple[str, str], ...] = (), done: int = 1) -> dict:
    found = [{"claim": claim, "verdict": verdict} for claim, verdict in verdicts]
    return {"done": done, "boards": list(boards), "verdicts": found}


def test_the_sentences_count_right():
    first = board("maze", dynalay=(0.99, "first", False), resnet=(0.83, "", True))
    second = board("ising", resnet=(0.93, "tie", True), dynalay=(0.93, "tie", False), act=(0.9, "", False))
    third = board("digits", resnet=(0.97, "first", True), dynalay=(0.95, "", False))
    claims = (("a", "supported"), ("a", "supported"), ("b", "supported"), ("b", "inconclusive"), ("c", "not supported"),
              ("c", "inconclusive"), ("d", "not tested"), ("e", "inconclusive"))  # fmt: skip
    leaders, adaptive, tested = summary([experiment(first, second, third, verdicts=claims)])
    assert leaders == "At equal compute, dynalay and resnet are ahead or level with the best on 2 of 3 leaderboards."
    assert adaptive == (
        "Of 3 leaderboards with both kinds: an adaptive network beats every static one on 1, a static network beats "
        "every adaptive one on 1 and neither kind is shown to be ahead on 1. The widest lead: dynalay by 16.0 points "
        "over resnet on maze."
    )
    assert tested == (
        "Claims of the DynaLay paper: 1 supported on every dataset tested, 1 supported on some datasets only, "
        "1 supported on none and 2 still open."
    )


@pytest.mark.parametrize("verdict", ["inconclusive", "not tested"])
def test_claims_that_nothing_decides_are_not_said_to_fail(verdict):
    (said,) = summary([experiment(verdicts=(("a", verdict), ("b", "inconclusive")))])
    assert said == "Claims of the DynaLay paper: 2 still open."


def test_an_experiment_that_has_not_run_claims_nothing(tmp_path):
    unrun = experiment(board("maze", dynalay=(0.99, "first", False)), done=0)
    assert summary([unrun]) == []
    assert "No finding yet" in start_page(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"version": 0}', '{"version": 99, "boards": []}', "{"])
def test_a_summary_of_another_version_is_left_out_and_named(results, tmp_path, content):
    for name in ("synthetic", "older"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "findings.json").write_bytes((results / "synthetic" / "findings.json").read_bytes())
    (tmp_path / "older" / "findings.json").write_text(content)
    page = start_page(tmp_path)
    assert "Left out, as another version of this suite wrote" in page
    assert '<a href="older/report.html">older</a>' in page
    assert page.count('<article class="verdict">') == 1
    (tmp_path / "older" / "findings.json").unlink()
    assert "Left out" not in start_page(tmp_path)


def test_the_version_of_a_summary_is_raised_with_its_form(results):
    """Whoever changes what `findings.json` holds raises the version, and writes both here."""
    found = json.loads((results / "synthetic" / "findings.json").read_text())
    assert found["version"] == 1
    assert sorted(found) == [
        "advice", "boards", "commits", "datasets", "done", "findings", "looks", "name", "question", "runs", "seeds",
        "tables", "title", "verdicts", "version",
    ]  # fmt: skip
    board = found["boards"][0]
    assert sorted(board) == ["dataset", "reference", "reference_macs", "rows", "samples", "step", "timed"]
    assert sorted(board["rows"][0]) == ["cells", "macs", "method", "static", "time"]
