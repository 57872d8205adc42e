"""The documentation: links lead somewhere, commands exist, examples run, and versions agree."""

import doctest
import importlib.util
import json
import re
import sys
import tomllib
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
import yaml

from benchmark.__main__ import main
from benchmark.contract.operator_count import operator_macs
from dynalay.meter import Meter

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "config/README.md", ROOT / "timings/README.md"],
    key=str,
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(page: Path) -> str:
    """A page without its blocks of code and its inline code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """What a link to this page may name after `#`: its headings, as GitHub and the site write them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


@every_page
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name}: {target}"


def commands(page: Path) -> list[list[str]]:
    """The words of every `make` and `python -m benchmark` command that a page shows."""
    lines = re.findall(r"^(?: {4}|\t)(.*)$", page.read_text(), flags=re.MULTILINE)
    lines += re.findall(r"`(make [^`\n]*|python -m benchmark [^`\n]*)`", page.read_text())
    shown = [line.split("#")[0].split() for line in lines]
    return [words for words in shown if words[:1] == ["make"] or words[:3] == ["python", "-m", "benchmark"]]


@every_page
def test_commands_shown_exist(page, capsys):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in commands(page):
        if words[0] == "make":
            named = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)]
            assert set(named) <= targets, words
        elif len(words) > 3 and words[3].isalpha():
            with pytest.raises(SystemExit) as ended:
                main([words[3], "--help"])
            assert ended.value.code == 0, words
            known = capsys.readouterr().out
            for option in (word for word in words[4:] if word.startswith("--")):
                assert option in known, words


@every_page
def test_configurations_shown_and_named_exist(page):
    for name in re.findall(r"config/(\w+)\.yaml", page.read_text()):
        assert name == "mine" or (ROOT / f"config/{name}.yaml").exists(), name
    for name in re.findall(r"EXPERIMENT=(\w+)", page.read_text()):
        assert (ROOT / f"config/{name}.yaml").exists(), name


@pytest.mark.parametrize("name", ["architecture.md", "model-card.md"])
def test_examples_run(name, tmp_path, monkeypatch):
    for path in ROOT.iterdir():
        if path.name != "data":
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testfile(str(ROOT / "docs" / name), module_relative=False)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.fixture
def example(tmp_path, monkeypatch) -> ModuleType:
    """The method that docs/add-a-method.md shows, as a module."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/add-a-method.md").read_text(), re.DOTALL)
    assert code
    source = tmp_path / "two_exits.py"
    source.write_text(code[1])
    specification = importlib.util.spec_from_file_location("two_exits", source)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "two_exits", module)
    specification.loader.exec_module(module)
    return module


def test_the_example_of_a_method_counts_what_runs(example):
    torch.manual_seed(0)
    model = example.TwoExits((1, 8, 8), 4, width=4, points=3).eval()
    images, labels = torch.randn(6, 1, 8, 8), torch.zeros(6, dtype=torch.int64)
    with torch.no_grad():
        points = model.operating_points([(images, labels)])
        depths = []
        for point in points:
            meter = Meter(model.components(), len(images))
            logits = model.classify(images, point, meter)
            spent = meter.macs(model.component_macs())
            depths.append(int(meter.executions[:, 2].sum()))
            for row in range(len(images)):
                alone = partial(model.classify, images[row : row + 1], point)
                torch.testing.assert_close(alone(Meter(model.components(), 1))[0], logits[row])
                assert operator_macs(partial(alone, Meter(model.components(), 1))) == spent[row]
    assert depths == sorted(depths)
    assert depths[0] < 6 == depths[-1]


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert released[:1] in ([], [version])


@pytest.mark.parametrize(
    ("page", "start", "end", "experiments"),
    [
        ("README.md", "**Natural images**", "**Dials of difficulty**", ("fashion", "cifar10")),
        ("README.md", "**Dials of difficulty**", "- **The first version", ("dials",)),
        ("README.md", "The experiment `quick`, which", "A further experiment", ("quick",)),
        ("docs/attempts.md", "| agent less the best policy that does not look | +4.32", "What it drives", ("dials",)),
        ("docs/attempts.md", "## What each part of the second", "## Attempts", ("ablations",)),
        ("docs/methods.md", "## Where methods fall short on mazes", "MSDNet has no results", ("dials", "prices")),
        ("docs/methods.md", "ResNet-20 has 99.00%", "## Published figures", ("prices",)),
        ("docs/choose.md", "## What `dials` shows", "## What `quick` shows", ("dials",)),
        ("docs/choose.md", "## What `quick` shows", "An early exit is", ("quick",)),
        ("docs/choose.md", "## What natural images show", "## What the first version", ("fashion", "cifar10")),
    ],
)
def test_numbers_of_published_results_are_those_of_the_tables(page, start, end, experiments):
    tables = ""
    for experiment in experiments:
        folder = ROOT / "results/reference" / experiment
        tables += "\n".join(path.read_text() for path in (folder / "tables").glob("*.md"))
        tables += (folder / "findings.json").read_text()
        for verdict in json.loads((folder / "verdicts.json").read_text()):
            tables += "".join(f" {100 * abs(verdict[name] or 0):.2f}" for name in ("effect", "low", "high"))
        curves = pd.read_parquet(folder / "summary/curves.parquet").query("split == 'test' and policy == 'own'")
        full = curves.sort_values("macs").groupby(["dataset", "method", "seed"]).tail(1)
        tables += "".join(f" {100 * accuracy:.1f}" for accuracy in full["accuracy"])
        shown = [full]
        if experiment == "prices":  # the papers' thresholds
            shown += [curves[curves["operating_point"] == point] for point in ("own:0.99", "own:0.5")]
        for points in shown:
            for _, mean in points.groupby(["dataset", "method"])[["accuracy", "macs"]].mean().iterrows():
                tables += f" {100 * mean['accuracy']:.2f} {mean['macs'] / 1e6:.2f} M"
        if (fog := folder / "figures/fog.csv").exists():
            tables += "".join(
                f" {value / 1e6:.2f} M" for value in pd.read_csv(fog).query("quantity == 'MACs'")["value"]
            )
    whole = (ROOT / page).read_text()
    text = whole.split(start)[1].split(end)[0]
    if page == "README.md" and experiments != ("quick",):
        assert any(f"(results/reference/{experiment}/figures/" in text for experiment in experiments)
    text = re.sub(r"!\[[^\]]*\]", "", text)  # what a picture shows is read off it
    numbers = set(re.findall(r"\d+\.\d+|\d+ [kM]", text))
    assert len(numbers) > 5
    assert [
        number for number in sorted(numbers) if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", tables)
    ] == []
