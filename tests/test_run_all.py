"""run_all.sh: it explains itself, refuses what would not work, and never empties a folder."""

import os
import subprocess
from pathlib import Path

import pytest

from gcnlab.cli.names import PROFILES

RUN_ALL = Path(__file__).resolve().parents[1] / "run_all.sh"


def script(*arguments, **environment):
    dropped = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    command = ["bash", str(RUN_ALL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=kept | environment,
                          timeout=60, check=False)  # fmt: skip


def stub(path, lines):
    path.write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_it_is_a_valid_program():
    assert subprocess.run(["bash", "-n", str(RUN_ALL)], check=False).returncode == 0
    assert os.access(RUN_ALL, os.X_OK)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_it_explains_itself_without_making_an_environment(option, tmp_path):
    done = script(option, GCNLAB_VENV=str(tmp_path / "venv"))
    assert (done.returncode, done.stderr) == (0, "") and not (tmp_path / "venv").exists()
    for words in ("./run_all.sh test", "--only", "--data-root", "GCNLAB_VENV", "TORCH_INDEX_URL"):
        assert words in done.stdout, words
    assert f"Profiles: {', '.join(PROFILES).replace('quick', 'quick (default)')}." in done.stdout
    assert "pipefail" not in done.stdout and "\n#" not in done.stdout


@pytest.mark.parametrize("arguments", [[], ["test"]])
def test_without_a_python_it_says_so(arguments, tmp_path):
    where = {"GCNLAB_VENV": str(tmp_path / "venv"), "PYTHON": "/none", "TORCH_INDEX_URL": "unused"}
    done = script(*arguments, **where)
    assert (done.returncode, done.stdout) == (2, "") and not (tmp_path / "venv").exists()
    assert len(done.stderr.splitlines()) == 1 and "run_all.sh: no Python 3.11" in done.stderr


def test_it_never_empties_a_folder_that_is_no_environment(tmp_path):
    """``venv --clear`` deletes what is there: with GCNLAB_VENV set by mistake, one's own files."""
    python = stub(tmp_path / "python", f'echo "$@" >>"{tmp_path}/calls"; [ "$1" != -m ]')
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    done = script(GCNLAB_VENV=str(mine), PYTHON=str(python), TORCH_INDEX_URL="unused")
    assert done.returncode == 2 and str(mine) in done.stderr
    assert "--clear" not in (tmp_path / "calls").read_text(encoding="utf-8")


def test_arguments_go_on_to_the_notebooks_command(tmp_path):
    """In an environment that has gcnlab; the profile is the command's own default."""
    stub(tmp_path / "python", 'case "$1" in -P) ;; *) echo "$@";; esac')
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = script("--only", "01", VIRTUAL_ENV=str(tmp_path), PATH=path)
    assert (done.returncode, done.stdout) == (0, "-m gcnlab notebooks --only 01\n")
