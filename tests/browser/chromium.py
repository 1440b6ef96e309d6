"""The fixture ``browser``, Chromium without a window. Tests are skipped where there is none, or no selenium.

``DEMOE_SCREENSHOTS=DIR`` keeps the screenshots. Debian: ``apt install chromium chromium-driver``; then
``pip install -e '.[browser]'``.
"""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--window-size=1300,1500",
    "--disable-background-networking",
    "--disable-component-update",
)


@pytest.fixture
def browser(tmp_path):
    """Chromium whose downloads go to ``tmp_path / "downloads"``, and which notes every address that it asks for."""
    pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[browser]'")
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs Chromium and chromedriver: apt install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    (tmp_path / "downloads").mkdir()
    where = {"behavior": "allow", "downloadPath": str(tmp_path / "downloads")}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    yield driver
    screenshot(driver, "last")
    driver.quit()


def resize(browser, width, height=900):
    """The page as on a screen of this many pixels; windows themselves have a least width."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def too_wide(browser):
    """By how many pixels the page is wider than the screen."""
    return browser.execute_script("return document.documentElement.scrollWidth - innerWidth")


def asked_for(browser):
    """Every address that the page has asked for since this was called last; not those of data in the page itself."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [address for address in sent if not address.startswith(("data:", "blob:", "chrome"))]


def downloaded(tmp_path, wait):
    """The one file that was downloaded, when it is whole."""

    def whole(_):
        files = [file for file in (tmp_path / "downloads").iterdir() if file.suffix != ".crdownload"]
        return files[0] if len(files) == 1 and files[0].stat().st_size else None

    return wait.until(whole)


def screenshot(browser, name):
    if folder := os.environ.get("DEMOE_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def transform(browser):
    """Width on the screen, left and top of the picture in the view, in pixels."""
    return browser.execute_script(
        'const [view, image] = [".demoe-view", ".demoe-after"].map((name) => document.querySelector(name));'
        "const [a, b] = [view, image].map((one) => one.getBoundingClientRect());"
        "return [b.width, b.left - a.left, b.top - a.top];"
    )


def sides(browser):
    """The colours left and right of the middle of the view, (R, G, B) twice; to fives, as JPEG moves them."""
    view = browser.find_element("css selector", ".demoe-view")
    shown = np.asarray(Image.open(io.BytesIO(view.screenshot_as_png)).convert("RGB"))
    row, width = shown.shape[0] // 4, shown.shape[1]
    return tuple(tuple((5 * np.round(shown[row, at] / 5)).astype(int)) for at in (width // 4, 3 * width // 4))
