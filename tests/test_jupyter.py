"""In a real JupyterLab: Run All of every notebook as it is opened, and its sliders redraw."""

import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

from gcnlab.report import notebooks

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NOTEBOOKS = notebooks.pick(None)
SLIDERS = {"01": 1, "02": 1, "04": 2, "08": 5}  # notebook → how many
LIMIT = 60  # seconds of an idle core, for Run All
PATIENCE = 4  # times that, on a busy machine
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
IDLE = f"() => {KERNEL}?.status === 'idle'"
REDRAWN = """before => {
  const picture = document.querySelector('.widget-output img')
  return picture && picture.getAttribute('src') !== before
}"""
# What the opened notebook holds: code cells that wait or run, errors, pictures of its widgets.
STATE = """() => {
  const cells = [...jupyterapp.shell.currentWidget.content.widgets].map(w => w.model)
    .filter(m => m.type === 'code')
  const outputs = cells.flatMap(m => m.outputs.toJSON())
  return {waiting: cells.filter(m => m.executionState !== 'idle' || !m.executionCount).length,
          errors: outputs.filter(o => o.output_type === 'error').map(o => o.evalue)}
}"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (apt: chromium)"),
]
playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A JupyterLab on copies of the notebooks, with an empty cache of data."""
    folder = tmp_path_factory.mktemp("lab")
    for path in NOTEBOOKS:
        shutil.copy(path, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"port": port, "token": "", "password": "", "open_browser": False}
    flags = [f"--ServerApp.{name}={value}" for name, value in options.items()]
    flags += ["--LabApp.expose_app_in_browser=True", "--allow-root", f"--notebook-dir={folder}"]
    own = {"GCNLAB_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    own |= {"JUPYTER_CONFIG_DIR": str(folder / "config"), "HOME": str(folder)}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    setting = folder / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    setting.parent.mkdir(parents=True)
    setting.write_text('{"windowingMode": "none"}')  # cells out of sight are in the page too
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *flags],
            env=os.environ | own, stdout=log, stderr=log,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None, (folder / "log").read_text()
            try:
                urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_run_all_and_sliders_in_jupyterlab(path, address, browser):
    page, problems = browser.new_page(), []
    page.set_default_timeout(1000 * PATIENCE * LIMIT)
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{address}/doc/tree/{path.name}")
    page.wait_for_function(IDLE)
    started = time.monotonic()
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
    while (state := page.evaluate(STATE))["waiting"]:
        assert state["errors"] == []
        assert time.monotonic() - started < PATIENCE * LIMIT, state
        page.wait_for_timeout(500)
    print(f"{path.name}: Run All in {time.monotonic() - started:.0f} s")

    sliders = page.locator(".widget-slider .noUi-handle")
    if path.name[:2] in SLIDERS:
        page.wait_for_selector(".widget-output img")
    assert sliders.count() == SLIDERS.get(path.name[:2], 0)
    picture = page.locator(".widget-output img")
    for i in range(sliders.count()):
        before = picture.get_attribute("src")
        sliders.nth(i).press("ArrowRight" if i != 3 else "ArrowLeft")  # k begins with its largest
        page.wait_for_function(REDRAWN, arg=before)
    assert problems == []
    page.close()
