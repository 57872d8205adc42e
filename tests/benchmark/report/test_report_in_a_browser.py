"""The page of an experiment, as a browser shows it."""

import itertools
import json
import re

import pandas as pd
import pytest

from tests.benchmark.report.browsing import (
    FAINT_TEXT,
    UNNAMED,
    chart,
    choose,
    press,
    reachable,
    set_size,
    texts,
    unfold,
)

#: The datasets of what is seen of one dataset.
VISIBLE = """
    const parts = [...document.querySelectorAll("[data-dataset]")];
    return parts.filter((e) => e.checkVisibility()).map((e) => e.dataset.dataset);
"""
LABELS = "chart.data.datasets.filter(line => line.curve).map(line => line.label)"
METHODS = {"resnet14", "resnet8", "branchynet", "dynalay", "dynalay-unrolled"}


def test_no_request_leaves_the_file(shown, page):
    shown.get_log("performance")  # forget what the browser did before
    shown.refresh()
    press(shown, "#theme")
    messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    requests = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert page.as_uri() in requests
    assert {url for url in requests if not url.startswith("data:")} == {page.as_uri()}


def test_findings_then_chart_then_verdicts_then_what_is_folded(shown):
    places = [
        shown.execute_script(f"return document.querySelector('{part}').getBoundingClientRect().top")
        for part in ("h1", "#findings", "#chart", "#verdicts", "#leaderboard", "#tables", "#figures", "#runs")
    ]
    assert places == sorted(places)
    assert len(texts(shown, "#findings li")) in (2, 3)
    assert all(re.search(r"\d", sentence) for sentence in texts(shown, "#findings li"))
    closed = shown.execute_script("return [...document.querySelectorAll('.fold')].every(fold => !fold.open)")
    assert closed


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_short_until_it_is_unfolded(shown, width):
    set_size(shown, width)
    assert shown.execute_script("return document.documentElement.scrollHeight") < 8 * 844
    assert reachable(shown) < 45


def test_a_link_to_something_folded_unfolds_it(shown):
    assert not shown.execute_script("return document.querySelector('#runs details').open")
    press(shown, "nav a[href='#runs']")
    shown.execute_async_script("setTimeout(arguments[0], 50)")
    assert shown.execute_script("return document.querySelector('#runs details').open")


# The chart


def test_the_chart_draws_the_curves_of_the_figure(shown, page):
    choose(shown, "dataset", "maze")
    data = pd.read_parquet(page.parent / "figures" / "accuracy_compute.parquet")
    mean = data[data["seed"].isna() & (data["dataset"] == "maze") & (data["method"] == "dynalay")].sort_values("macs")
    points = chart(shown, "chart.data.datasets.find(line => line.label === 'dynalay').data")
    assert [(point["x"], point["y"]) for point in points] == [
        pytest.approx(pair, abs=1e-5) for pair in mean[["macs", "accuracy"]].itertuples(index=False, name=None)
    ]
    assert texts(shown, "#chart-rows th").count("dynalay") == len(mean)
    frontier = data[data["frontier"] & (data["dataset"] == "maze")].sort_values("macs")
    drawn = chart(shown, "chart.data.datasets.find(line => line.label === 'static frontier').data")
    assert [point["x"] for point in drawn[: len(frontier)]] == frontier["macs"].tolist()
    # Single seeds are drawn with their method, and can be left out.
    dots = "chart.data.datasets.filter(line => line.bound && !line.showLine).length"
    assert chart(shown, dots) == len(METHODS)
    press(shown, "#seeds")
    assert chart(shown, dots) == 0


def test_methods_can_be_chosen_and_without_any_there_are_no_axes(shown):
    everything = chart(shown, LABELS)
    assert set(everything) == METHODS
    press(shown, "#methods input[value=dynalay]")
    assert set(chart(shown, LABELS)) == METHODS - {"dynalay"}
    assert "dynalay" not in texts(shown, "#chart-rows th")
    press(shown, "#no-methods")
    assert chart(shown, LABELS) == []
    assert not shown.find_element("id", "chart").is_displayed()
    assert shown.find_element("id", "chart-empty").is_displayed()
    press(shown, "#all-methods")
    assert chart(shown, LABELS) == everything
    assert not shown.find_element("id", "chart-empty").is_displayed()


def test_dataset_axis_scale_and_bands_can_be_chosen(shown):
    choose(shown, "dataset", "maze")
    first = chart(shown, "chart.data.datasets[0].data")
    assert "resnet8 (2 of 3)" in texts(shown, "#chart-holes")[0]
    choose(shown, "dataset", "digits")
    assert chart(shown, "chart.data.datasets[0].data") != first
    assert "branchynet (2 of 3)" in texts(shown, "#chart-holes")[0]
    assert chart(shown, "chart.scales.x.type") == "linear"
    choose(shown, "scale", "logarithmic")
    assert chart(shown, "chart.scales.x.type") == "logarithmic"
    assert texts(shown, "#axis option") == ["MACs per sample", "milliseconds per sample, batch 1, cpu"]
    assert shown.find_element("id", "seeds").is_displayed()
    choose(shown, "axis", "latency-1-cpu")
    assert not shown.find_element("id", "seeds").is_displayed()  # only curves over MACs have single seeds
    assert chart(shown, "chart.options.scales.x.title.text") == "milliseconds per sample, batch 1, cpu"
    assert max(point["x"] for point in chart(shown, "chart.data.datasets[0].data")) <= 2
    assert "branchynet (2 of 3)" in texts(shown, "#chart-holes")[0]  # it was not timed in the seed that failed
    bands = "chart.data.datasets.some(line => line.fill)"
    assert not chart(shown, bands)
    press(shown, "#bands")
    assert chart(shown, bands)


def test_the_axis_is_fitted_to_where_methods_differ(shown):
    low = chart(shown, "chart.scales.y.min")
    worst = min(
        chart(shown, "chart.data.datasets.filter(line => line.curve).map(line => Math.max(...line.data.map(p => p.y)))")
    )
    assert low < worst
    assert worst - low < 0.4


def test_keys_walk_the_curves_and_say_what_is_there(shown):
    canvas = shown.find_element("id", "chart")
    canvas.send_keys("\ue014")  # right
    first = texts(shown, "#chart-said")[0]
    assert re.search(r"^\S+: \d+\.\d\d%", first)
    assert re.search(r"MACs per sample", first)
    canvas.send_keys("\ue015")  # down, to another curve
    second = texts(shown, "#chart-said")[0]
    assert second.partition(":")[0] != first.partition(":")[0]
    for _ in range(4):
        canvas.send_keys("\ue015")
    assert chart(shown, "chart.tooltip.getActiveElements().length") == 1


def test_a_point_tells_its_operating_point_and_all_curves_at_its_compute(shown):
    choose(shown, "dataset", "maze")
    title, lines = shown.execute_script(
        """
        const chart = Chart.getChart("chart");
        const index = chart.data.datasets.findIndex((line) => line.label === "dynalay");
        const point = chart.getDatasetMeta(index).data[2];
        chart.tooltip.setActiveElements([{datasetIndex: index, index: 2}], {x: point.x, y: point.y});
        chart.update();
        return [chart.tooltip.title, chart.tooltip.body.flatMap((part) => part.lines)];
        """
    )
    assert re.search(r"^dynalay: \d+\.\d\d% \(\d+\.\d\d% to \d+\.\d\d%\)$", title[0])
    assert re.search(r"MACs per sample, operating point [\d.]+", lines[0])
    assert any(re.search(r"^dynalay-unrolled \d+\.\d\d%$", line) for line in lines)


def test_arrows_go_through_the_methods_which_are_one_stop(shown):
    stops = "return [...document.querySelectorAll('#methods input')].filter(box => box.tabIndex === 0).length"
    assert shown.execute_script(stops) == 1
    shown.find_element("css selector", "#methods input").send_keys("\ue014")
    assert shown.execute_script("return document.activeElement.value") == "resnet8"
    assert shown.execute_script(stops) == 1


# Tables, runs, filters


def test_one_dataset_at_a_time(shown):
    unfold(shown)
    choose(shown, "only", "digits")
    visible = shown.execute_script(VISIBLE)
    assert visible
    assert set(visible) == {"digits"}
    assert shown.execute_script("return document.getElementById('dataset').value") == "digits"
    choose(shown, "only", "")
    assert "maze" in shown.execute_script(VISIBLE)


def test_tables_sort_by_a_heading_numbers_by_value_holes_last(shown):
    unfold(shown)
    first = "document.querySelector('#tables table')"
    heading = shown.execute_script(f"return {first}.tHead.rows[0].cells[2].querySelector('button')")
    values = f"return [...{first}.tBodies[0].rows].map(row => row.cells[2].dataset.value)"
    heading.send_keys("\n")  # by keyboard
    ascending = shown.execute_script(values)
    known = [float(value) for value in ascending if value]
    assert known == sorted(known)
    assert ascending[-2:] == ["", ""]
    assert shown.execute_script(f"return {first}.tHead.rows[0].cells[2].getAttribute('aria-sort')") == "ascending"
    heading.send_keys("\n")
    descending = shown.execute_script(values)
    assert [float(value) for value in descending if value] == sorted(known, reverse=True)
    assert descending[-2:] == ["", ""]


def test_runs_show_their_state_by_seed(shown):
    unfold(shown)
    rows = shown.execute_script(
        "return [...document.querySelectorAll('#runs-table tbody tr')]"
        ".map(row => [row.cells[0].textContent, row.cells[1].textContent, row.cells[2].textContent])"
    )
    assert len(rows) == 10
    assert ["maze", "resnet8", "2 done, 1 missing"] in rows
    assert ["digits", "branchynet", "2 done, 1 failed"] in rows
    assert ["maze", "dynalay", "done"] in rows
    assert shown.execute_script("return [...document.querySelectorAll('td.seeds .hole')].map(e => e.title)") == [
        "missing", "failed",
    ]  # fmt: skip


def test_verdict_cards_have_an_axis_with_zero_and_the_margin(shown, page):
    found = json.loads((page.parent / "verdicts.json").read_text())
    assert texts(shown, ".verdict .badge") == [entry["verdict"] for entry in found]
    measured = [entry for entry in found if entry["effect"] is not None]
    assert len(texts(shown, ".verdict span.effect")) == len(texts(shown, ".interval .zero")) == len(measured)
    assert len(texts(shown, ".interval .margin")) == sum(entry["margin"] != 0 for entry in measured)
    ticks = texts(shown, ".interval .tick")
    assert ticks.count("0") == len(measured)
    assert "margin 10.0%" in ticks
    # Where a claim is shown to be false, the p-value against it is what has decided.
    shown_against = [text for text in texts(shown, ".verdict span.effect") if text.endswith("against")]
    assert len(shown_against) == sum(entry["verdict"] == "not supported" for entry in measured)


def test_gallery_and_figures_are_shown_with_words_for_what_they_show(shown):
    unfold(shown)
    assert texts(shown, ".gallery h3") == [
        f"{dataset}: {extreme} compute" for dataset in ("maze", "digits") for extreme in ("least", "most")
    ]
    loaded = "return [...document.querySelectorAll('img')].every(i => i.complete && i.naturalWidth > 0)"
    assert shown.execute_script(loaded)
    assert "Accuracy against compute" in texts(shown, "figcaption h3")
    assert any("no finished run has anything to show" in text for text in texts(shown, "#figures p"))
    says = shown.find_element("css selector", "#figure-accuracy_compute [role=img]").get_attribute("aria-label")
    assert re.search(r"maze, dynalay: \d+\.\d% at [\d.]+ M MACs to \d+\.\d%", says)


# Theme, print, width, access


def test_colours_follow_the_system_and_the_button(shown):
    unfold(shown)
    background = "return getComputedStyle(document.body).backgroundColor"
    paper = "#figure-accuracy_compute svg path"  # the first
    of_figure = f"return getComputedStyle(document.querySelector('{paper}')).fill"
    for scheme, first, second in (("dark", "rgb(21, 23, 27)", "rgb(255, 255, 255)"),
                                  ("light", "rgb(255, 255, 255)", "rgb(21, 23, 27)")):  # fmt: skip
        shown.execute_script("delete document.documentElement.dataset.theme")
        shown.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        assert shown.execute_script(background) == first
        assert shown.execute_script(of_figure) == first  # a figure's paper is the page's
        press(shown, "#theme")
        assert shown.execute_script(background) == second
        assert shown.execute_script(of_figure) == second


def test_print_shows_everything_in_light_colours(shown):
    shown.execute_script("document.documentElement.dataset.theme = 'dark'")
    closed = "return [...document.querySelectorAll('details')].filter(fold => !fold.open).length"
    before = shown.execute_script(closed)
    assert before > 5
    shown.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert shown.execute_script(closed) == 0
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert shown.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not shown.execute_script("return document.querySelector('nav').checkVisibility()")
    shown.execute_script("dispatchEvent(new Event('afterprint'))")
    assert shown.execute_script(closed) == before


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(shown, theme):
    unfold(shown)
    shown.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    assert shown.execute_script(FAINT_TEXT) == []


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_fits_its_width(shown, width):
    set_size(shown, width)
    overflow = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
    assert shown.execute_script(overflow) == 0
    chart_width = shown.execute_script("return document.getElementById('chart').getBoundingClientRect().width")
    assert 0.6 * width < chart_width <= width
    unfold(shown)
    assert shown.execute_script(overflow) == 0


def test_everything_has_a_name_that_can_be_read_aloud(shown):
    assert shown.execute_script(UNNAMED) == []
    for landmark in ("header", "nav", "main", "footer"):
        assert len(texts(shown, landmark)) == 1
    levels = shown.execute_script("return [...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert shown.execute_script("return document.documentElement.lang") == "en"
    ids = shown.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    # Whatever scrolls sideways can be reached and scrolled by keyboard.
    assert shown.execute_script("return [...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0)")
