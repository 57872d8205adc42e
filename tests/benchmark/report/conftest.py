"""The page of a synthetic experiment, and a browser that shows it: Chromium and its driver.

On Debian: `apt-get install chromium chromium-driver`.
"""

import json
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
from tests.benchmark.synthetic import Experiment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
HOSTILE = '</script><img src=x onerror=alert(1)> & "quoted"'
CLAIMS = Path(__file__).parents[3] / "config" / "claims.yaml"
#: Of the picture of a figure, its alternative text, and where it would be cut.
PICTURES = ("accuracy_compute", "ablations", "gallery", "fpi_layers")


@pytest.fixture(scope="package")
def results(tmp_path_factory) -> Path:
    """Results with one missing run, and one that failed with an error that is hostile to HTML."""
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
            timed = timed.assign(p50=2 - knobs, p95=3.0, p99=3.0, peak_memory_mib=100.0, threads=1)
            timed.to_csv(folder / "latency.csv", index=False)
    summary.write(configuration, results)
    evidence = Evidence(configuration, results)
    images = torch.zeros(60, 1, 4, 4, dtype=torch.uint8)
    prepared = SimpleNamespace(name="toy", classes=("a", "b", "c", "d"), test=SimpleNamespace(images=images))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evidence, "dataset", lambda self, label: prepared)
        for name in PICTURES:
            data = figures.find(name).data(evidence)
            style = Style(configuration.methods, evidence.outcomes.static_methods)
            _writing.write(name, data, style, evidence.folder / "figures" / name)
    write_json(evidence.folder / "verdicts.json", verdicts.judge(evidence.outcomes, verdicts.load(CLAIMS)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configurations, "load", lambda path: configuration)
        assert command_line.main(["report", "--config", "x.yaml", "--results", str(results)]) == 0
    assert command_line.main(["report", "--results", str(results)]) == 0
    return results


@pytest.fixture(scope="package")
def page(results) -> Path:
    """The experiment's page."""
    return results / "synthetic" / "report.html"


@pytest.fixture(scope="package")
def browser(tmp_path_factory):
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium and chromedriver (apt-get install chromium chromium-driver)")
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
def open_page(browser):
    """Opens a page freshly from its file; at the end no error may stand in the console."""

    def opened(path: Path):
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        browser.get("about:blank")  # else a page that differs only in its fragment would not be loaded
        browser.get(path.as_uri())
        return browser

    yield opened
    browser.execute_script("localStorage.clear()")
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


@pytest.fixture
def shown(open_page, page):
    """The experiment's page."""
    return open_page(page)
