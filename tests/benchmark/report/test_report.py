"""The page, as a browser shows it: Chromium and its driver (on Debian, `apt-get install chromium chromium-driver`)."""

import itertools
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark import __main__ as command_line
from benchmark import figures
from benchmark.analysis import summary, verdicts
from benchmark.experiment import configuration as configurations
from benchmark.figures import Evidence, Style, _writing
from benchmark.files import write_json
from benchmark.report.page import render
from tests.benchmark.synthetic import Experiment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs Chromium and chromedriver (apt-get install chromium chromium-driver)",
)
HOSTILE = '</script><img src=x onerror=alert(1)> & "quoted"'


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of an experiment in which one run is missing and one failed with an error that is hostile to HTML."""
    results = tmp_path_factory.mktemp("results")
    experiment = Experiment(
        samples=60, points=4, missing=("maze/resnet8/seed2",), failed=("digits/branchynet/seed1",), trials=8
    )
    configuration = experiment.write(results)
    failed = configuration.run("digits", "branchynet", 1).folder(results) / "run.json"
    failed.write_text(json.dumps(json.loads(failed.read_text()) | {"error": HOSTILE}))
    for run in configuration.runs():
        if (folder := run.folder(results)).exists():
            knobs = np.linspace(0, 1, 4)
            timed = pd.DataFrame({"operating_point": [f"own:{knob:g}" for knob in knobs]})
            timed = timed.assign(batch_size=1, milliseconds_per_sample=2 - knobs, device="cpu")
            timed.to_csv(folder / "latency.csv", index=False)
    summary.write(configuration, results)
    evidence = Evidence(configuration, results)
    images = torch.zeros(60, 1, 4, 4, dtype=torch.uint8)
    prepared = SimpleNamespace(name="toy", classes=("a", "b", "c", "d"), test=SimpleNamespace(images=images))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evidence, "dataset", lambda self, label: prepared)
        for name in ("accuracy_compute", "gallery", "fpi_layers"):
            data = figures.find(name).data(evidence)
            style = Style(configuration.methods, evidence.outcomes.static_methods)
            _writing.write(name, data, style, evidence.folder / "figures" / name)
    claims = verdicts.load(Path(__file__).parents[3] / "config" / "claims.yaml")
    write_json(evidence.folder / "verdicts.json", verdicts.judge(evidence.outcomes, claims))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configurations, "load", lambda path: configuration)
        assert command_line.main(["report", "--config", "x.yaml", "--results", str(results)]) == 0
    return evidence.folder / "report.html"


# Without a browser


def test_the_page_is_one_small_file_that_names_no_other(page):
    text = page.read_text(encoding="utf-8")
    assert len(text) < 10_000_000
    attributes = re.findall(r'\s(?:src|href|srcset|action|poster)="([^"]*)"', text)
    assert attributes
    assert all(value.startswith(("data:", "#")) for value in attributes)
    assert "@import" not in text
    assert "sourceMappingURL" not in text
    assert "default-src 'none'" in text


def test_missing_and_failed_runs_are_named(page):
    text = page.read_text(encoding="utf-8")
    assert "28 of 30" in text
    assert "<code>maze/resnet8/seed2</code>: missing" in text
    assert "<code>digits/branchynet/seed1</code>: failed" in text


def test_what_tuning_changed_is_tabled(page):
    assert "learning_rate 0.004 → 0.01" in page.read_text(encoding="utf-8")


def test_text_of_results_cannot_become_markup(page):
    assert "<img src=x" not in page.read_text(encoding="utf-8")


def test_an_experiment_without_any_result_has_a_page(tmp_path):
    configuration = Experiment().configuration()
    summary.write(configuration, tmp_path)
    text = render(Evidence(configuration, tmp_path))
    assert "0 of 30" in text
    assert "30 of 30 runs are not in these results" in text


def test_without_a_summary_the_remedy_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(configurations, "load", lambda path: Experiment().configuration())
    assert command_line.main(["report", "--config", "x.yaml", "--results", str(tmp_path)]) == 2
    assert "python -m benchmark summary --config x.yaml" in capsys.readouterr().err


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=1280,900",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser, page):
    """The page, freshly opened from its file; at the end no error may stand in the console."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(page.as_uri())
    yield browser
    browser.execute_script("localStorage.clear()")
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


def texts(driver, selector: str) -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(found => found.textContent.trim())", selector
    )


def press(driver, selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def choose(driver, element: str, value: str) -> None:
    driver.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('change', {bubbles: true}))", element, value,
    )  # fmt: skip


def chart(driver, expression: str):
    """A value of the Chart.js chart, by an expression in `chart`."""
    return driver.execute_script(f"const chart = Chart.getChart('chart'); return {expression}")


@in_a_browser
def test_no_request_leaves_the_file(shown, page):
    shown.get_log("performance")  # forget what the browser did before
    shown.refresh()
    press(shown, "#theme")
    messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    requests = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert page.as_uri() in requests
    assert {url for url in requests if not url.startswith("data:")} == {page.as_uri()}


@in_a_browser
def test_the_chart_draws_the_curves_of_the_figure(shown, page):
    data = pd.read_parquet(page.parent / "figures" / "accuracy_compute.parquet")
    mean = data[data["seed"].isna() & (data["dataset"] == "maze") & (data["method"] == "dynalay")].sort_values("macs")
    points = chart(shown, "chart.data.datasets.find(line => line.label === 'dynalay').data")
    assert [(point["x"], point["y"]) for point in points] == [
        pytest.approx(pair, abs=1e-5) for pair in mean[["macs", "accuracy"]].itertuples(index=False, name=None)
    ]
    assert texts(shown, "#chart-rows th").count("dynalay") == len(mean)


@in_a_browser
def test_methods_can_be_chosen(shown):
    labels = "chart.data.datasets.filter(line => !line.bound).map(line => line.label)"
    everything = chart(shown, labels)
    assert set(everything) == {"resnet14", "resnet8", "branchynet", "dynalay", "dynalay-unrolled"}
    press(shown, "#methods input[value=dynalay]")
    assert set(chart(shown, labels)) == set(everything) - {"dynalay"}
    assert "dynalay" not in texts(shown, "#chart-rows th")
    assert "dynalay," not in shown.find_element("id", "chart").get_attribute("aria-label").replace("dynalay-", "")
    press(shown, "#no-methods")
    assert chart(shown, labels) == []
    press(shown, "#all-methods")
    assert chart(shown, labels) == everything


@in_a_browser
def test_dataset_axis_scale_and_bands_can_be_chosen(shown):
    first = chart(shown, "chart.data.datasets[0].data")
    assert "resnet8 (2 of 3)" in texts(shown, "#chart-holes")[0]
    choose(shown, "dataset", "digits")
    assert chart(shown, "chart.data.datasets[0].data") != first
    assert "branchynet (2 of 3)" in texts(shown, "#chart-holes")[0]
    assert chart(shown, "chart.scales.x.type") == "linear"
    choose(shown, "scale", "logarithmic")
    assert chart(shown, "chart.scales.x.type") == "logarithmic"
    assert texts(shown, "#axis option") == ["MACs per sample", "milliseconds per sample, batch 1, cpu"]
    choose(shown, "axis", "latency-1-cpu")
    assert chart(shown, "chart.options.scales.x.title.text") == "milliseconds per sample, batch 1, cpu"
    assert max(point["x"] for point in chart(shown, "chart.data.datasets[0].data")) <= 2
    assert "branchynet (2 of 3)" in texts(shown, "#chart-holes")[0]  # it was not timed in the seed that failed
    assert chart(shown, "chart.data.datasets.some(line => line.bound)")
    press(shown, "#bands")
    assert not chart(shown, "chart.data.datasets.some(line => line.bound)")


@in_a_browser
def test_hovering_shows_a_point(shown):
    found = shown.execute_script(
        """
        const chart = Chart.getChart("chart");
        const index = chart.data.datasets.findIndex((line) => line.label === "dynalay");
        const {x, y} = chart.getDatasetMeta(index).data[0];
        chart.tooltip.setActiveElements([{datasetIndex: index, index: 0}], {x, y});
        chart.update();
        return [chart.tooltip.title, chart.tooltip.body.map((part) => part.lines)];
        """
    )
    assert found[0] == ["dynalay"]
    assert re.search(r"accuracy \d+\.\d%.*MACs", str(found[1]))


@in_a_browser
def test_tables_sort_by_a_heading_numbers_by_value_holes_last(shown):
    column = "#tables table:first-of-type tbody tr td:nth-child(3)"
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
    assert texts(shown, column)


@in_a_browser
def test_runs_can_be_filtered_and_opened(shown):
    visible = "return [...document.querySelectorAll('#runs-table tbody tr')].filter(row => !row.hidden).length"
    assert shown.execute_script(visible) == 30
    shown.find_element("id", "runs-words").send_keys("digits branchy")
    assert shown.execute_script(visible) == 3
    choose(shown, "runs-status", "failed")
    assert shown.execute_script(visible) == 1
    assert texts(shown, "#runs-count") == ["1 of 30 runs"]
    press(shown, "button[data-run='digits/branchynet/seed1']")
    assert json.loads(texts(shown, "#run-json")[0])["error"] == HOSTILE
    assert shown.execute_script("return document.getElementById('run-dialog').open")


@in_a_browser
def test_colours_follow_the_system_and_the_button(shown):
    background = "return getComputedStyle(document.body).backgroundColor"
    for scheme, first, second in (("dark", "rgb(21, 23, 27)", "rgb(255, 255, 255)"),
                                  ("light", "rgb(255, 255, 255)", "rgb(21, 23, 27)")):  # fmt: skip
        shown.execute_script("delete document.documentElement.dataset.theme")
        shown.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        assert shown.execute_script(background) == first
        press(shown, "#theme")
        assert shown.execute_script(background) == second
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@in_a_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(shown, theme):
    """WCAG AA: 4.5 to 1, for all text against the background that it stands on."""
    shown.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    faint = shown.execute_script(
        """
        const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const luminance = ([r, g, b]) => {
          const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
          return 0.2126 * x + 0.7152 * y + 0.0722 * z;
        };
        const ground = (element) => {
          for (let e = element; e; e = e.parentElement) {
            const colour = channels(getComputedStyle(e).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
          }
          return [255, 255, 255];
        };
        return [...document.querySelectorAll("main *, header *, footer *, nav *")]
          .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
          .map((e) => {
            const pair = [luminance(channels(getComputedStyle(e).color)), luminance(ground(e))].sort((a, b) => b - a);
            return [(pair[0] + 0.05) / (pair[1] + 0.05), e.tagName, e.textContent.trim().slice(0, 40)];
          })
          .filter(([ratio]) => ratio < 4.5);
        """
    )
    assert faint == []


@in_a_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_its_width(shown, width):
    shown.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    overflow = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
    assert shown.execute_script(overflow) == 0
    chart_width = shown.execute_script("return document.getElementById('chart').getBoundingClientRect().width")
    assert 0.6 * width < chart_width <= width


@in_a_browser
def test_everything_has_a_name_that_can_be_read_aloud(shown):
    unnamed = shown.execute_script(
        """
        const named = (e) => e.getAttribute("aria-label") || e.getAttribute("alt") || e.textContent.trim()
          || e.labels?.length || document.getElementById(e.getAttribute("aria-labelledby"));
        return [...document.querySelectorAll("img, button, select, input, canvas, dialog, section, [role=region], nav")]
          .filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80));
        """
    )
    assert unnamed == []
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


@in_a_browser
def test_verdicts_come_first_with_effect_and_interval(shown):
    assert texts(shown, "main > section")[0].startswith("Does it hold?")
    found = json.loads((Path(shown.current_url.removeprefix("file://")).parent / "verdicts.json").read_text())
    assert len(texts(shown, ".verdict .badge")) == len(found)
    assert texts(shown, ".verdict .badge") == [entry["verdict"] for entry in found]
    measured = [entry for entry in found if entry["effect"] is not None]
    # Where a claim is shown to be false, the p-value against it is what has decided.
    shown_against = [text for text in texts(shown, ".verdict span.effect") if text.endswith("against")]
    assert len(shown_against) == sum(entry["verdict"] == "not supported" for entry in measured)
    assert len(texts(shown, ".verdict span.effect")) == len(measured)


@in_a_browser
def test_gallery_and_figures_are_shown(shown):
    assert texts(shown, ".gallery h3") == [
        f"{dataset}: {extreme} compute" for dataset in ("maze", "digits") for extreme in ("least", "most")
    ]
    loaded = "return [...document.querySelectorAll('img')].every(i => i.complete && i.naturalWidth > 0)"
    assert shown.execute_script(loaded)
    assert "Accuracy against compute" in texts(shown, "figcaption h3")
    assert any("no finished run has anything to show" in text for text in texts(shown, "#figures p"))
