"""A strange machine: the engine works there, leaves the checkout alone and gives the same numbers.

No Jupyter, no network, a checkout that cannot be written, folders with spaces and unicode, another
working directory, a terminal without colour or unicode.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
JUPYTER = ("matplotlib", "seaborn", "papermill", "nbclient", "nbconvert", "IPython", "ipykernel",
           "jupyter_client", "submitit", "jinja2")  # fmt: skip
COMMANDS = ("run|5{}", "status{}", "report|--json{}", "params", "rules", "data|check|shapes-tiny")
WITHOUT_JUPYTER = (
    f"import sys; sys.modules.update(dict.fromkeys({JUPYTER}))\nfrom gcnlab.cli import main\n"
    "print('codes', *[main(words.split('|')) for words in sys.argv[1:]])"
)
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C", "PYTHONUTF8": "0",
         "PYTHONCOERCECLOCALE": "0"}  # fmt: skip
STRANGE = "a folder, ünï–码"


def prefix(*command):
    """``command`` to put before another, if this machine lets us."""
    works = shutil.which(command[0]) and not subprocess.run([*command, "true"]).returncode
    return command if works else ()


def read_only_copy(folder):
    """The package in a folder that cannot be written, and what makes that true for root too."""
    shutil.copytree(ROOT / "gcnlab", folder / "gcnlab", ignore=shutil.ignore_patterns("*.pyc"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & 0o555)
    drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    return prefix(*drop) if os.geteuid() == 0 else ()


def numbers(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in record.items() if name != "environment"}


@pytest.mark.slow
@pytest.mark.parametrize(("read_only", "variables"), [
    (False, PLAIN),
    (True, {}),
], ids=["no network, no colour, no unicode", "read-only"])  # fmt: skip
def test_the_engine_works_without_jupyter(read_only, variables, smoke, tmp_path):
    checkout, out, here = ROOT, tmp_path / STRANGE / "out", tmp_path / "here"
    here.mkdir()
    command = prefix("unshare", "--net")
    if read_only:
        checkout = tmp_path / STRANGE / "checkout"
        command += read_only_copy(checkout)
        here.chmod(0o555)
    variables = {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"} | variables
    place = f"|--profile|smoke|--out|{out}"
    done = subprocess.run(
        [*command, sys.executable, "-c", WITHOUT_JUPYTER, *(c.format(place) for c in COMMANDS)],
        cwd=here, env=os.environ | variables | NO_NETWORK, capture_output=True,
        timeout=600, check=False,
    )  # fmt: skip
    text = done.stdout.decode()
    assert (
        done.stderr == b"" and text.splitlines()[-1] == "codes 0 0 0 0 0 0" and "\x1b" not in text
    )
    assert re.search(r"conv1x1-s0: mIoU \d+\.\d", text)
    assert "3 of 3 runs complete below" in text and "smoke, 0 failed" in text
    assert list(here.iterdir()) == []
    for run in smoke.runs:
        path = smoke.store.record_path(run)
        assert numbers(out / "smoke" / "runs" / path.name) == numbers(path)
