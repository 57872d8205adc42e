"""The documentation site: it builds without a warning, and asks nothing of the network."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_of_the_repository_is_a_page_of_the_site(site):
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").exists(), page
    for name in ("index", "configuration", "commands", "changelog", "api/dynalay", "api/benchmark"):
        assert (site / f"{name}.html").exists(), name


def test_the_page_of_the_methods_describes_every_method(site):
    page = (site / "api" / "baselines.html").read_text()
    for source in (ROOT / "baselines").glob("[!_]*.py"):
        assert f'id="baselines.{source.stem}"' in page


def test_no_page_fetches_from_elsewhere(site):
    fetched = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>""")
    for page in site.rglob("*.html"):
        assert fetched.findall(page.read_text()) == [], page


def test_formulas_are_mathml(site):
    page = (site / "methods.html").read_text()
    assert "<math" in page
    assert "arithmatex" not in page


@pytest.fixture
def address(site) -> Iterator[str]:
    """The site, served on this machine: a search index may not be read from the disk."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and chromedriver")
def test_in_a_browser_nothing_is_fetched_from_elsewhere_and_a_phone_shows_pages_whole(address, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage", f"user-data-dir={tmp_path}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        for name in ("index", "choose", "methods", "configuration", "api/dynalay"):
            browser.get(f"{address}{name}.html")
            assert browser.execute_script("return document.documentElement.scrollWidth") == 390, name
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        requested = {
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        }
        assert [url for url in requested if not url.startswith((address, "data:", "blob:", "chrome"))] == []
        assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        browser.quit()
