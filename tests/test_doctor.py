"""``doctor``: what would stop the README's commands is told with its remedy, whatever is broken."""

import json
import shutil
import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from gcnlab.cli import doctor

Usage = namedtuple("Usage", "total used free")
JUPYTER = ("jupyterlab", "ipykernel", "papermill", "nbconvert")


def without(*names):
    def find(name):
        if name in names:
            raise PackageNotFoundError(name)
        return version(name)

    return find


@pytest.fixture
def findings(call, tmp_path):
    """``findings(*options)`` → exit code, what was found by name."""

    def ask(*options):
        code, out, err = call("doctor", "--json", "--out", tmp_path / "new" / "out", *options)
        assert err == "" and not (tmp_path / "new").exists(), "it only looks"
        return code, {finding["name"]: finding for finding in json.loads(out)}

    return ask


def test_where_the_tests_run_the_readmes_commands_work(findings, layout, call, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=99e9))
    code, found = findings("--data-root", layout)
    assert code == 0 and not any(finding["fatal"] for finding in found.values())
    assert f"numpy {version('numpy')}" in found["packages (core)"]["value"]
    assert "voc (" in found["real data"]["value"] and "train 9" in found["real data"]["value"]
    lines = call("doctor")[1].splitlines()
    assert [line.split()[0] for line in lines if "packages (core)" in line] == ["ok"]


def gone(self, name):
    return SimpleNamespace(argv=["/gone/bin/python"])


FAULTS = {  # what is patched, with what → finding, words of it, exit code
    "no Jupyter": (doctor, "version", without(*JUPYTER), "packages (notebooks)",
                   ["papermill is missing", "pip install -c constraints.txt -e '.[notebooks]'"], 1),
    "no kernel": (sys.modules, "jupyter_client.kernelspec", None, "kernel",
                  ["none", "python -m gcnlab run needs none"], 1),
    "kernel of a deleted environment": (KernelSpecManager, "get_kernel_spec", gone, "kernel",
                                        ["none", "install the packages for notebooks"], 1),
    "no torchvision": (doctor, "version", without("torchvision"), "packages (core)",
                       ["torchvision is missing", "-e '.'"], 1),
    "no submitit": (doctor, "version", without("submitit"), "packages (cluster)",
                    ["submitit is missing", "-e '.[cluster]'"], 0),
    "old numpy": (doctor, "version", lambda name: "1.9.3", "packages (core)",
                  ["numpy 1.9.3 is older than 1.26"], 1),
    "broken torch": (sys.modules, "gcnlab.experiments.environment", None, "device",
                     ["Error: ", "install torch and torchvision together"], 1),
    "no such device": ("GCNLAB_DEVICE", None, "warp", "device", ["warp", "unset GCNLAB_DEVICE"], 1),
    "full disk": (shutil, "disk_usage", lambda _: Usage(9e9, 8e9, 1e9), "runs (--out)",
                  ["1.0 GB free", "2 GB are needed", "--out"], 1),
    "folder of another": (doctor.os, "access", lambda *_: False, "drawn data",
                          ["cannot be written", "GCNLAB_CACHE"], 1),
    "old Python": (doctor.sys, "version_info", (3, 10, 1), "python",
                   ["use Python 3.11 to 3.13"], 1),
    "no checkout": (doctor, "CHECKOUT", Path("nowhere"), "checkout", ["clone the repository"], 1),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_comes_with_a_remedy(fault, findings, monkeypatch):
    where, name, new, finding, words, code = FAULTS[fault]
    if name is None:
        monkeypatch.setenv(where, new)
    elif where is sys.modules:
        monkeypatch.setitem(where, name, new)
        monkeypatch.delattr("gcnlab.experiments.environment", raising=False)
    else:
        monkeypatch.setattr(where, name, new)
    ended, found = findings()
    told = found[finding]
    assert ended == code == told["fatal"], told
    assert all(word in f"{told['value']} → {told['remedy']}" for word in words), told


def test_a_folder_without_real_data_is_said_to_have_none(findings, tmp_path):
    code, found = findings("--data-root", tmp_path)
    assert code == 0 and "none" in found["real data"]["value"]
    assert "docs/data.md" in found["real data"]["remedy"]
