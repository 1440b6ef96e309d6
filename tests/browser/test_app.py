"""``demoe app`` in a browser: files in, before and after, files out, by mouse and by keys, and nobody else is asked."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from chromium import asked_for, downloaded, resize, screenshot, too_wide, transform
from chromium import browser as browser
from PIL import Image

from demoe.app.photos import deblur
from demoe.core import images
from demoe.core.images import Photograph
from demoe.models import checkpoints
from demoe.models.demoe import DeMoE, DeMoEConfig

pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[browser]'")
pytest.importorskip("gradio", reason="needs Gradio: pip install -e '.[gui]'")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

NAMES = ("large (1) _x_.jpg", "phone.heic", "deep.tif", "notes.txt")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A large JPEG with EXIF, a HEIC, a 16-bit TIFF and a text file."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install -e '.[heic]'")
    folder, exif = tmp_path_factory.mktemp("photographs"), Image.Exif()
    exif[271] = "A maker"
    noise = np.random.default_rng(0).integers(0, 256, (48, 2400, 3), np.uint8)
    Image.fromarray(noise).save(folder / NAMES[0], exif=exif)
    pillow_heif.from_pillow(Image.fromarray(noise[:, :64])).save(folder / NAMES[1])
    images.write_photograph(folder / NAMES[2], Photograph(torch.rand(3, 30, 40), bit_depth=16))
    (folder / NAMES[3]).write_text("hello")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page's address and its weights; at the end nothing is left in its folder for temporary files."""
    folder = tmp_path_factory.mktemp("app")
    torch.manual_seed(0)
    model = DeMoE(DeMoEConfig(width=4)).eval()
    torch.nn.init.normal_(model.ending.weight, std=0.1)
    weights = checkpoints.save(model, folder / "model.safetensors")
    (folder / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(folder / "temporary"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "demoe", "app", "--no-browser", "--weights", str(weights)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        while "http" not in (said := (folder / "log").read_text()):
            assert server.poll() is None, said
            time.sleep(0.2)
        yield said[said.index("http") :].split()[0], weights
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert not list((folder / "temporary").glob("demoe-app-*"))


def button(browser, text):
    return next(one for one in browser.find_elements(By.TAG_NAME, "button") if one.text == text)


def status(browser):
    return browser.find_element(By.ID, "status").text


def chosen(browser):
    """The choice of who removes the blur."""
    label = "document.querySelector('input[type=radio]:checked').closest('label').textContent"
    return browser.execute_script(f"return {label}").strip()


def focused(browser, keys, wanted):
    """Presses the tabulator until what ``wanted`` says has the focus, and then the keys."""
    for _ in range(60):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        if browser.execute_script(f"const one = document.activeElement; return Boolean({wanted});"):
            ActionChains(browser).send_keys(*keys).perform()
            return
    raise AssertionError(f"no key leads to {wanted}")


def test_photographs_go_in_and_come_out_as_the_command_writes_them(served, photographs, browser, tmp_path):
    address, weights = served
    wait = WebDriverWait(browser, 120)
    browser.get(address)
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "input[type=file]"))
    upload = browser.find_element(By.CSS_SELECTOR, "input[type=file]")
    upload.send_keys("\n".join(str(photographs / name) for name in NAMES))
    wait.until(lambda page: "notes" in page.page_source and "deep" in page.page_source)
    button(browser, "Deblur").click()
    wait.until(lambda page: "3 of 4 photographs deblurred." in status(page))
    assert "notes.txt is no photograph" in status(browser)

    def natural():
        return browser.execute_script("return document.querySelector('.demoe-after').naturalWidth")

    wait.until(lambda page: natural() == 2048)
    assert "2400 × 48 pixels, shown smaller" in browser.find_element(By.CSS_SELECTOR, ".demoe-note").text
    assert "The router" in browser.find_element(By.ID, "said").text
    for width in (1280, 400):
        resize(browser, width)
        wait.until(lambda page, most=width: transform(page)[0] <= most)
        assert too_wide(browser) <= 0
        screenshot(browser, f"app_{width}")
    button(browser, "100 %").click()
    wait.until(lambda page: natural() == 2400)
    assert transform(browser)[0] == 2400

    wait.until(lambda page: button(page, "Download all (zip)").is_enabled())
    button(browser, "Download all (zip)").click()
    with zipfile.ZipFile(downloaded(tmp_path, wait)) as packed:
        assert packed.namelist() == [NAMES[0], "phone.png", "deep.tif"]
        model = checkpoints.load(weights)
        for name, result in zip(NAMES, packed.namelist(), strict=False):
            images.write_photograph(tmp_path / result, deblur(photographs / name, model=model).photograph)
            assert packed.read(result) == (tmp_path / result).read_bytes()
    with Image.open(tmp_path / NAMES[0]) as written:
        assert written.getexif()[271] == "A maker" and written.size == (2400, 48)
    assert {asked.split("/")[2] for asked in asked_for(browser)} == {address.split("/")[2]}


def test_keys_alone_are_enough(served, photographs, browser):
    address, _ = served
    wait = WebDriverWait(browser, 120)
    browser.get(address)
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "input[type=file]"))
    upload = browser.find_element(By.CSS_SELECTOR, "input[type=file]")  # the window for files is the system's
    upload.send_keys("\n".join(str(photographs / name) for name in NAMES[1:3]))
    wait.until(lambda page: "deep" in page.page_source)
    wanted = "the expert for defocus"  # Gradio gives each choice a name of its own: the tabulator leads to it, no arrow
    focused(browser, [Keys.SPACE], f"one.type === 'radio' && one.closest('label').textContent.trim() === '{wanted}'")
    wait.until(lambda page: chosen(page) == wanted)
    focused(browser, [Keys.ENTER], "one.textContent.trim() === 'Deblur'")
    wait.until(lambda page: "2 of 2 photographs deblurred." in status(page))
    assert "Used as you chose: the expert for defocus" in browser.find_element(By.ID, "said").text
    note = browser.find_element(By.CSS_SELECTOR, ".demoe-note")
    assert "64 × 48 pixels" in note.text
    focused(browser, [], "one.closest('#which')")  # which opens the list; Enter at once would take what is chosen
    marked = "return [...document.querySelectorAll('li.active')].some((one) => one.textContent.includes('deep'))"
    for _ in range(4):
        ActionChains(browser).send_keys(Keys.ARROW_DOWN).pause(0.2).perform()
        if browser.execute_script(marked):
            break
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    wait.until(lambda page: "40 × 30 pixels" in page.find_element(By.CSS_SELECTOR, ".demoe-note").text)
    focused(browser, ["1", "+"], "one.matches('.demoe-view')")
    assert browser.find_element(By.CSS_SELECTOR, ".demoe-zoom").text == "150 %"
    focused(browser, [Keys.HOME], "one.matches('.demoe-range')")
    assert browser.find_element(By.CSS_SELECTOR, ".demoe-range").get_attribute("value") == "0"
    focused(browser, [], "one.textContent.trim() === 'Download this one'")
