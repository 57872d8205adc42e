"""The explorer of single decisions, as a browser shows it."""

import base64
import gzip
import itertools
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from benchmark import __main__ as command_line
from benchmark.analysis import summary
from benchmark.errors import UserError
from benchmark.evaluation import decisions
from benchmark.experiment import configuration as configurations
from benchmark.experiment.configuration import Configuration
from benchmark.figures import Evidence
from benchmark.report import explorer
from tests.benchmark.synthetic import CLASSES, Experiment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs Chromium and chromedriver (apt-get install chromium chromium-driver)",
)
SAMPLES, POINTS = 40, 3
EXPERIMENT = Experiment(samples=60, points=4, seeds=1, failed=("digits/branchynet/seed0",))


#: What an agent's decisions rest on.
PREDICTED = {
    "price": 0.1,
    "gain: wake layer 2": 0.25,
    "cost: wake layer 2": 0.5,
    "gain: answer": 0.0,
    "cost: answer": 0.0,
}


def table(agent: bool) -> pa.Table:
    """Decisions of a method that takes up to three steps: more at later points, and an answer that gets right."""
    rows = []
    for sample, point in itertools.product(range(SAMPLES), range(POINTS)):
        label = sample % CLASSES
        taken = min(point + sample % 2, 3)
        for step in range(taken + 1):
            other = (label + 1) % CLASSES
            row = {
                "sample": sample, "label": label, "difficulty": (sample * 7) % 40 / 40,
                "operating_point": f"own:{point}", "knob": float(point) if agent or point < POINTS - 1 else np.inf,
                "step": step,
                "decision": "answer", "choice": "answer", "macs": 10**6 * (step + 1),
                "classes": [label, other] if step >= sample % 3 else [other, label], "probabilities": [0.8, 0.1],
            }  # fmt: skip
            if step < taken:
                row |= {"decision": f"step {step + 1}", "choice": "wake layer 2" if agent else "go on"}
                numbers = {"score": 0.25, "threshold": 0.5} | (PREDICTED if agent else {})
                row |= {f"number.{name}": value for name, value in numbers.items()}
            if agent:
                row["seen.stage 1"] = [0.1, 0.2, 0.4, 0.3] if step < taken else [np.nan] * 4
            rows.append(row)
    frame = pd.DataFrame(rows)
    for name in ("operating_point", "decision", "choice"):
        frame[name] = frame[name].astype("category")
    return pa.Table.from_pandas(frame, preserve_index=False)


def write(results: Path, without: tuple[str, ...] = ()) -> Configuration:
    """The experiment's results, with decisions of every run that is done but those of the methods `without`."""
    configuration = EXPERIMENT.write(results)
    for run in configuration.runs():
        folder = run.folder(results)
        if (folder / "records.parquet").exists() and run.method not in without:
            decisions.write(folder / decisions.FILE, table(run.method == "dynalay"))
    summary.write(configuration, results)
    return configuration


def toy_data(*shape: int) -> SimpleNamespace:
    images = torch.arange(60, dtype=torch.uint8).reshape(60, 1, 1, 1).expand(60, *shape)
    names = ("ant", "bee", "<b>cat</b>", "dog")
    return SimpleNamespace(
        name="toy", classes=names, difficulty_name="path length", test=SimpleNamespace(images=images)
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of an experiment that has a method without decisions, and one dataset without data."""
    results = tmp_path_factory.mktemp("results")
    configuration = write(results, without=("resnet8",))

    def dataset(evidence, label):
        if label == "digits":
            raise UserError("no data")
        return toy_data(1, 4, 6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configurations, "load", lambda path: configuration)
        patch.setattr(Evidence, "dataset", dataset)
        assert command_line.main(["explorer", "--config", "x.yaml", "--results", str(results)]) == 0
    return results / EXPERIMENT.name / "explorer.html"


def packed(text: str) -> dict[str, dict]:
    found = re.findall(r'class="packed" data-dataset="(.*?)">(.*?)</script>', text)
    return {dataset: json.loads(gzip.decompress(base64.b64decode(content))) for dataset, content in found}


# Without a browser


def test_the_page_is_one_file_that_fetches_nothing(page):
    text = page.read_text(encoding="utf-8")
    attributes = re.findall(r'\s(?:src|href|srcset|action)="([^"]*)"', text)
    assert all(value.startswith(("data:", "#")) or value == "report.html" for value in attributes)
    assert "default-src 'none'" in text
    assert "<b>cat" not in text


def test_what_has_no_decisions_is_named(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"<li><code>(.*?)</code></li>", text))
    assert named == {"maze/resnet8", "digits/resnet8", "digits/branchynet"}


def test_steps_are_those_of_the_files(page):
    content = packed(page.read_text(encoding="utf-8"))["maze"]
    frame = decisions.read(page.parent / "maze" / "dynalay" / "seed0" / decisions.FILE)
    method = content["methods"]["dynalay"]
    assert content["samples"] == list(range(SAMPLES))
    assert sum(map(sum, method["counts"])) == len(frame) == len(method["macs"])
    assert method["macs"] == frame["macs"].tolist()
    assert [classes[0] for classes in method["classes"]] == [classes[0] for classes in frame["classes"]]
    assert method["numbers"]["threshold"] == [None if np.isnan(t) else t for t in frame["number.threshold"]]
    assert (content["sheet"]["width"], content["sheet"]["height"]) == (6, 4)


def test_a_large_grid_shows_fewer_samples_and_stays_small(tmp_path, monkeypatch):
    configuration = write(tmp_path)
    noise = torch.randint(256, (60, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = toy_data(1, 4, 6)
    data.test.images = noise
    monkeypatch.setattr(Evidence, "dataset", lambda evidence, label: data)
    whole = explorer.render(Evidence(configuration, tmp_path))
    assert {len(content["samples"]) for content in packed(whole).values()} == {SAMPLES}
    size = sum(map(len, re.findall(r'class="packed".*?>(.*?)</script>', whole)))
    monkeypatch.setattr(explorer, "LARGEST", size // 2)
    less = explorer.render(Evidence(configuration, tmp_path))
    assert sum(map(len, re.findall(r'class="packed".*?>(.*?)</script>', less))) <= size // 2
    samples = {tuple(content["samples"]) for content in packed(less).values()}
    assert len(samples) == 1
    assert 5 <= len(samples.pop()) < SAMPLES


def test_large_pictures_are_made_smaller(tmp_path, monkeypatch):
    configuration = write(tmp_path)
    monkeypatch.setattr(Evidence, "dataset", lambda evidence, label: toy_data(3, 128, 64))
    sheet = packed(explorer.render(Evidence(configuration, tmp_path)))["maze"]["sheet"]
    assert (sheet["height"], sheet["width"]) == (64, 32)


def test_an_experiment_without_any_result_has_a_page(tmp_path):
    configuration = Experiment().configuration()
    summary.write(configuration, tmp_path)
    assert "nothing to look into" in explorer.render(Evidence(configuration, tmp_path))


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-sync",
        "disable-component-update", "disable-dev-shm-usage", "window-size=1280,900",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser, page):
    """The page, freshly opened and ready; at the end no error may stand in the console."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get("about:blank")
    browser.get(page.as_uri())
    wait(browser, "document.body.dataset.ready")
    yield browser
    browser.execute_script("localStorage.clear()")
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


def wait(driver, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 20).until(lambda driver: driver.execute_script(f"return {condition}"))


def texts(driver, selector: str) -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(found => found.textContent.trim())", selector
    )


def choose(driver, element: str, value: str) -> None:
    driver.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('change', {bubbles: true}))", element, value,
    )  # fmt: skip


def sample(driver) -> int:
    return int(driver.execute_script("return document.getElementById('number').value"))


@in_a_browser
def test_no_request_leaves_the_file(shown, page):
    shown.get_log("performance")
    shown.refresh()
    wait(shown, "document.body.dataset.ready")
    messages = [json.loads(entry["message"])["message"] for entry in shown.get_log("performance")]
    requests = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url.partition("#")[0] for url in requests if not url.startswith(("data:", "blob:"))} == {page.as_uri()}


@in_a_browser
def test_it_opens_where_there_is_something_to_see(shown):
    assert shown.execute_script("return document.getElementById('point').value") == str(POINTS // 2)
    taken = len(texts(shown, "#step-list h3"))
    assert texts(shown, "#step-list .flipped")
    assert "right, probability" in texts(shown, "#outcome")[0]
    for number in range(0, SAMPLES, 7):
        choose(shown, "number", str(number))
        if texts(shown, "#step-list .flipped") and "right, probability" in texts(shown, "#outcome")[0]:
            assert len(texts(shown, "#step-list h3")) <= taken


@in_a_browser
def test_a_sample_is_shown_step_by_step_with_its_flip(shown):
    choose(shown, "method", "branchynet")
    choose(shown, "point", "2")
    choose(shown, "number", "5")  # an odd sample whose first two answers are wrong
    assert texts(shown, "#step-list h3")[0] == "Step 11 M MACs so far"
    assert [text.split(" MACs")[0] for text in texts(shown, "#step-list h3")] == [
        "Step 11 M",
        "Step 22 M",
        "Step 33 M",
        "Answer4 M",
    ]
    flips = texts(shown, "#step-list .flipped")
    assert flips == ["⚑ flips from <b>cat</b> to bee"]
    assert texts(shown, ".chosen") == ["go on"] * 3
    assert "score" in texts(shown, ".why dt")
    assert "branchynet answers bee (right, probability" in texts(shown, "#outcome")[0]
    assert "path length" in texts(shown, "#outcome")[0]
    assert len(texts(shown, "#course circle")) == 4
    assert len(texts(shown, "#course .flip")) == 1
    assert len(texts(shown, "#point-rows tr")) == POINTS


@in_a_browser
def test_an_agent_shows_what_it_saw_and_what_it_expected(shown):
    choose(shown, "method", "dynalay")
    choose(shown, "point", "2")
    rows = texts(shown, "#step-list li:first-child .why tbody tr")
    assert rows == ["wake layer 20.250.50.2", "answer000"]
    assert texts(shown, "#step-list li:first-child tr.taken td:first-child") == ["wake layer 2"]
    assert len(shown.find_elements("css selector", "#step-list li:first-child .why svg rect")) == 4
    assert texts(shown, "#point option")[2] == "price 2"


@in_a_browser
def test_samples_can_be_ordered_and_filtered(shown):
    choose(shown, "order", "easiest")
    assert sample(shown) == 0
    choose(shown, "order", "hardest")
    assert sample(shown) == 17  # 17 * 7 = 119, the first that leaves 39 of 40
    choose(shown, "point", "0")
    choose(shown, "order", "wrong")
    place = texts(shown, "#place")[0]
    wrong = [number for number in range(SAMPLES) if min(number % 2, 3) < number % 3]
    assert place.startswith(f"1 of {len(wrong)} samples")
    assert sample(shown) == wrong[0]
    choose(shown, "order", "flipped")
    assert texts(shown, "#step-list .flipped")
    choose(shown, "order", "random")
    assert texts(shown, "#place")[0].startswith(f"1 of {SAMPLES}")


@in_a_browser
def test_arrow_keys_walk_through_samples_and_points(shown):
    from selenium.webdriver.common.keys import Keys

    body = shown.find_element("tag name", "body")
    choose(shown, "point", "0")
    choose(shown, "number", "0")
    body.send_keys(Keys.ARROW_RIGHT)
    assert sample(shown) == 1
    body.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert sample(shown) == SAMPLES - 1
    body.send_keys(Keys.ARROW_DOWN)
    assert shown.execute_script("return document.getElementById('point').value") == "1"
    assert shown.execute_script("return location.hash").endswith(f"sample={SAMPLES - 1}&point=1")
    shown.refresh()
    wait(shown, "document.body.dataset.ready")
    assert sample(shown) == SAMPLES - 1  # the address says what is shown


@in_a_browser
def test_a_dataset_without_its_data_is_shown_without_pictures(shown):
    choose(shown, "number", "0")
    choose(shown, "dataset", "digits")
    wait(
        shown,
        "document.getElementById('sample-title').textContent.endsWith('class 0')",
    )
    assert "No picture" in texts(shown, "#picture")[0]
    assert texts(shown, "#method option") == ["resnet14", "dynalay", "dynalay-unrolled"]


@in_a_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_width(shown, width):
    shown.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    choose(shown, "method", "dynalay")
    choose(shown, "point", "2")
    assert (
        shown.execute_script("const page = document.documentElement; return page.scrollWidth - page.clientWidth") == 0
    )


@in_a_browser
def test_everything_has_a_name_that_can_be_read_aloud(shown):
    choose(shown, "method", "dynalay")
    unnamed = shown.execute_script(
        """
        const named = (e) => e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length
          || document.getElementById(e.getAttribute("aria-labelledby"));
        return [...document.querySelectorAll("button, select, input, section, svg, [role=img], [role=region]")]
          .filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80));
        """
    )
    assert unnamed == []
    ids = shown.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
