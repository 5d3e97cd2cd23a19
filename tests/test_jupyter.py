"""In a real JupyterLab: Run All of every notebook as it is opened, and its controls redraw."""

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
CONTROLS = {  # of the notebooks that have any
    "01": ["k"], "02": ["k"], "04": ["image", "distance"],
    "08": ["image", "row", "column", "k", "window"],
}  # fmt: skip
LIMIT = 60  # seconds that the kernel may work for Run All, on one core
PATIENCE = 15  # minutes until a test gives up, on a busy machine
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
IDLE = f"() => {KERNEL}?.status === 'idle'"
PICTURE = ".widget-output img"  # its bytes are its address: equal pictures have equal ones
REDRAWN = f"""before => {{
  const picture = document.querySelector('{PICTURE}')
  return picture?.complete && picture.naturalWidth > 0 && picture.src !== before
}}"""
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
psutil = pytest.importorskip("psutil")  # which the kernels bring


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address and process of a JupyterLab on copies of the notebooks; its cache is empty."""
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
        yield address, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(request, lab, browser):
    """A notebook in the browser with its kernel ready, the kernel's process, and its problems."""
    (address, server), problems = lab, []
    page = browser.new_page()
    page.set_default_timeout(60_000 * PATIENCE)
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{address}/doc/tree/{request.param.name}")
    page.wait_for_function(IDLE)
    (kernel,) = server.children()
    yield page, kernel, problems
    page.evaluate(f"() => {KERNEL}.shutdown()")
    page.close()
    kernel.wait(60)


@pytest.mark.parametrize("opened", NOTEBOOKS, ids=lambda path: path.name[:2], indirect=True)
def test_run_all_and_controls_in_jupyterlab(opened, request):
    page, kernel, problems = opened
    number, started = request.node.callspec.id, time.monotonic()
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
    while (state := page.evaluate(STATE))["waiting"]:
        assert state["errors"] == []
        assert time.monotonic() - started < 60 * PATIENCE, state
        page.wait_for_timeout(500)
    assert state["errors"] == []
    worked, wall = sum(kernel.cpu_times()[:2]), time.monotonic() - started
    print(f"{number}: Run All with {worked:.0f} s of work in {wall:.0f} s")
    assert worked < LIMIT

    labels, picture = page.locator(".widget-slider .widget-label"), page.locator(PICTURE)
    if number in CONTROLS:
        picture.wait_for()
    assert labels.all_inner_texts() == CONTROLS.get(number, [])
    for i, label in enumerate(CONTROLS.get(number, [])):
        before = picture.get_attribute("src")
        slider = page.locator(".widget-slider .noUi-handle").nth(i)
        at_first = float(slider.get_attribute("aria-valuenow")) == 0
        slider.press("ArrowRight" if at_first else "ArrowLeft")
        page.wait_for_function(REDRAWN, arg=before)
        print(f"{number}: {label} redraws")
    assert problems == []
