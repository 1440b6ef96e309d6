"""The window of 00_start_here in JupyterLab: what is chosen is restored, closer is sharper, the whole file is saved."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import numpy as np
import pytest
from chromium import browser as browser
from chromium import downloaded, screenshot, transform
from PIL import Image

pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[browser]'")
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import Select, WebDriverWait

NOTEBOOK = """
import torch
from demoe.app.explorer import Explorer
from demoe.models.demoe import DeMoE, DeMoEConfig
torch.manual_seed(0)
model = DeMoE(DeMoEConfig(width=4)).eval()
torch.nn.init.normal_(model.ending.weight, std=0.3)
Explorer(model, {"noise": torch.rand(3, 60, 80), "stripes": torch.linspace(0, 1, 2400).repeat(3, 50, 1)})
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


def test_the_window_lives_in_jupyterlab(lab, browser, tmp_path):
    wait = WebDriverWait(browser, 120)
    browser.get(f"{lab}/lab/tree/window.ipynb")
    # Before the kernel has answered, JupyterLab forgets what it is asked to run.
    wait.until(lambda page: "| Idle" in page.find_element(By.ID, "jp-main-statusbar").text)
    run = (By.CSS_SELECTOR, "[data-command='notebook:run-cell-and-select-next']")
    wait.until(expected_conditions.element_to_be_clickable(run)).click()
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".demoe-panel select"))
    wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, ".demoe-view")) == 1)  # the window, not the copy
    screenshot(browser, "lab_first")

    def said():
        return browser.find_element(By.CSS_SELECTOR, ".demoe-said").text

    def after():
        return browser.find_element(By.CSS_SELECTOR, ".demoe-after").get_attribute("src")

    first = after()
    photograph, expert = (Select(one) for one in browser.find_elements(By.CSS_SELECTOR, ".demoe-panel select"))
    expert.select_by_visible_text("low_light")
    wait.until(lambda page: "used: low_light 100%" in said() and after() != first)
    assert not browser.find_element(By.NAME, "k").is_enabled()
    photograph.select_by_visible_text("stripes")
    note = (By.CSS_SELECTOR, ".demoe-note")
    wait.until(expected_conditions.text_to_be_present_in_element(note, "2400 × 50 pixels, shown smaller"))

    def natural():
        return browser.execute_script("return document.querySelector('.demoe-after').naturalWidth")

    wait.until(lambda page: natural() == 2048)
    browser.find_element(By.CSS_SELECTOR, ".demoe-tools button[name=whole]").click()
    wait.until(lambda page: natural() == 2400)
    assert transform(browser)[0] == 2400  # and the place is kept: a pixel of the photograph is one of the screen
    browser.find_element(By.CSS_SELECTOR, ".demoe-tools button[name=save]").click()
    with Image.open(downloaded(tmp_path, wait)) as saved:
        assert saved.size == (2400, 50)

    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "mine.png")
    browser.find_element(By.CSS_SELECTOR, ".demoe-panel input[type=file]").send_keys(str(tmp_path / "mine.png"))
    wait.until(expected_conditions.text_to_be_present_in_element(note, "40 × 30 pixels"))
    assert photograph.first_selected_option.text == "mine.png"
    screenshot(browser, "lab_second")
