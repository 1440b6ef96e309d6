"""The window of 00_start_here in JupyterLab, in a real browser. Skipped where there is no Chromium or no selenium.

``DEMOE_SCREENSHOTS=DIR`` keeps the screenshots. Debian: ``apt install chromium chromium-driver``; then
``pip install -e '.[browser]'``.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

selenium = pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[browser]'")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support import expected_conditions  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver")
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

NOTEBOOK = """
import torch
from demoe.app.explorer import Explorer
from demoe.models.demoe import DeMoE, DeMoEConfig
torch.manual_seed(0)
model = DeMoE(DeMoEConfig(width=4)).eval()
torch.nn.init.normal_(model.ending.weight, std=0.3)
Explorer(model, {"noise": torch.rand(3, 60, 80), "stripes": torch.linspace(0, 1, 90).repeat(3, 50, 1)})
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab's address, serving a folder with one notebook."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK.strip())])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "window.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(folder / "config"), "OMP_NUM_THREADS": "1"}
    environment |= {"JUPYTER_DATA_DIR": str(folder / "data"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    log = (folder / "log").open("w")
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--port={port}",
            "--ServerApp.port_retries=0",
            "--IdentityProvider.token=",
            f"--ServerApp.root_dir={folder}",
        ],
        env=environment,
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert server.poll() is None, (folder / "log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(30)
        log.close()


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    screenshot(driver, "last")
    driver.quit()


def picture(browser):
    """The PNG that the window shows, as the browser's address of it."""
    return browser.find_element(By.CSS_SELECTOR, "img.widget-image").get_attribute("src")


def message(browser):
    return browser.find_elements(By.CSS_SELECTOR, ".widget-html-content")[-1].text


def screenshot(browser, name):
    if folder := os.environ.get("DEMOE_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_the_window_lives_in_jupyterlab(lab, browser):
    wait = WebDriverWait(browser, 120)
    browser.get(f"{lab}/lab/tree/window.ipynb")
    # Before the kernel has answered, JupyterLab forgets what it is asked to run.
    wait.until(lambda page: "| Idle" in page.find_element(By.ID, "jp-main-statusbar").text)
    run = (By.CSS_SELECTOR, "[data-command='notebook:run-cell-and-select-next']")
    wait.until(expected_conditions.element_to_be_clickable(run)).click()
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "img.widget-image"))
    screenshot(browser, "first")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output img")) == 1  # the window, not the still
    first = picture(browser)

    photograph, expert = (Select(one) for one in browser.find_elements(By.CSS_SELECTOR, ".widget-dropdown select"))
    expert.select_by_visible_text("low_light")
    wait.until(lambda page: "used: low_light 100%" in message(page))
    photograph.select_by_visible_text("stripes")
    wait.until(lambda page: "90 x 50 pixels" in message(page))
    wait.until(lambda page: picture(page) != first)
    second = picture(browser)
    handle = browser.find_elements(By.CSS_SELECTOR, ".widget-slider .noUi-handle")[-1]
    ActionChains(browser).drag_and_drop_by_offset(handle, 150, 0).perform()
    wait.until(lambda page: picture(page) != second)
    screenshot(browser, "second")
