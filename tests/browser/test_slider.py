"""The slider in an exported page: a notebook with the window, run and made HTML, without a kernel and a network."""

import base64

import nbformat
import pytest
from chromium import browser as browser
from chromium import downloaded, resize, screenshot, sides, too_wide, transform

pytest.importorskip("selenium", reason="needs selenium: pip install -e '.[browser]'")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

RED, BLUE = (255, 0, 0), (0, 0, 255)
# The network is replaced by one that makes a red picture blue: nothing else makes before and after so easy to tell.
NOTEBOOK = """
import torch
from unittest.mock import patch
from demoe.app import explorer, photos
from demoe.models.demoe import DeMoE, DeMoEConfig
red = torch.zeros(3, 900, 1200)
red[0] = 1
def blue(photo, **options):
    result = photos.deblur(photo, **options)
    image = photo.pixels.flip(0)
    return photos.replace(result, image=image, photograph=photos.replace(result.photograph, pixels=image))
model = DeMoE(DeMoEConfig(width=4)).eval()
with patch.object(explorer, "deblur", blue):
    window = explorer.Explorer(model, {"red.png": red})
window
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of the notebook as HTML, run and exported as ``jupyter nbconvert --execute --to html`` does."""
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import ExecutePreprocessor

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK.strip())])
    notebook, _ = ExecutePreprocessor(timeout=300, kernel_name="python3").preprocess(notebook, {})
    html, _ = HTMLExporter().from_notebook_node(notebook)
    file = tmp_path_factory.mktemp("page") / "window.html"
    file.write_text(html, encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(page, browser):
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    browser.get(page)
    wait = WebDriverWait(browser, 60)
    wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".demoe-view") and transform(page)[0] > 100)
    return browser, wait


def test_the_edge_parts_before_from_after_and_follows_mouse_and_keys(opened):
    browser, _ = opened
    assert len(browser.find_elements(By.CSS_SELECTOR, ".demoe-view")) == 1
    assert sides(browser) == (RED, BLUE)
    view, edge = (browser.find_element(By.CSS_SELECTOR, f".demoe-{name}") for name in ("view", "edge"))
    width = view.size["width"]
    ActionChains(browser).drag_and_drop_by_offset(edge, int(0.45 * width), 0).perform()
    assert sides(browser) == (RED, RED)
    ActionChains(browser).drag_and_drop_by_offset(edge, int(-0.9 * width), 0).perform()
    assert sides(browser) == (BLUE, BLUE)
    control = browser.find_element(By.CSS_SELECTOR, ".demoe-range")
    control.send_keys(Keys.END)
    assert sides(browser) == (RED, RED) and control.get_attribute("aria-valuetext") == "100 % before"
    control.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 50)
    assert control.get_attribute("aria-valuetext") == "50 % before" and sides(browser) == (RED, BLUE)
    view.send_keys(*[Keys.ARROW_RIGHT] * 20)  # where nothing is to be moved, arrows move the edge
    assert control.get_attribute("aria-valuetext") == "90 % before"


def test_zoom_pan_and_full_screen_by_mouse_and_keys(opened):
    browser, wait = opened
    fitted = transform(browser)
    buttons = {one.text: one for one in browser.find_elements(By.CSS_SELECTOR, ".demoe-tools button")}
    buttons["100 %"].click()
    zoom, view = (browser.find_element(By.CSS_SELECTOR, f".demoe-{name}") for name in ("zoom", "view"))
    assert transform(browser)[0] == 1200 > fitted[0] and zoom.text == "100 %"
    buttons["+"].click()
    larger = transform(browser)
    assert larger[0] == pytest.approx(1800)
    away = ActionChains(browser).move_to_element_with_offset(view, -200, -100)
    away.click_and_hold().move_by_offset(80, 40).release().perform()
    assert transform(browser)[1:] == pytest.approx([larger[1] + 80, larger[2] + 40])
    view.send_keys(Keys.ARROW_RIGHT)
    assert transform(browser)[1] == pytest.approx(larger[1] + 20)
    assert sides(browser) == (RED, BLUE)  # the edge stays in the middle of the view
    view.send_keys("1")
    assert transform(browser)[0] == 1200
    view.send_keys("0")
    assert transform(browser) == pytest.approx(fitted)
    view.send_keys("f")
    wait.until(lambda page: page.execute_script("return document.fullscreenElement !== null"))
    wait.until(lambda page: transform(page)[0] != fitted[0])
    screenshot(browser, "slider_full_screen")
    buttons["Full screen"].click()
    wait.until(lambda page: page.execute_script("return document.fullscreenElement === null"))
    wait.until(lambda page: transform(page) == pytest.approx(fitted))


def test_save_and_a_narrow_screen_without_asking_anybody(opened, tmp_path):
    browser, wait = opened
    browser.find_element(By.CSS_SELECTOR, ".demoe-tools button[name=save]").click()
    saved = downloaded(tmp_path, wait)
    source = browser.find_element(By.CSS_SELECTOR, ".demoe-after").get_attribute("src")
    assert saved.name == "red.jpg" and saved.read_bytes() == base64.b64decode(source.partition(",")[2])
    for width in (1280, 400):
        resize(browser, width)
        wait.until(lambda page, most=width: 100 < transform(page)[0] < most)
        screenshot(browser, f"slider_{width}")
        assert too_wide(browser) <= 0 and sides(browser) == (RED, BLUE)
