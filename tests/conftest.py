"""For all tests: one thread, the CPU, drawn data in a temporary folder, one smoke study."""

import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from made_data import catalogue, forget, write_all

from gcnlab.analysis.tables import table_configs
from gcnlab.data import sources
from gcnlab.experiments import profiles, scheduler
from gcnlab.experiments.store import Store

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory):
    """Nothing is read from or written to the user's own cache, and a GPU changes no number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCNLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GCNLAB_DEVICE", "cpu")
        yield


@pytest.fixture
def caught():
    """``caught(error)`` → its message, after checking that it is one line."""

    def message(info):
        text = str(info.value)
        assert text and len(text.splitlines()) == 1, text
        return text

    return message


@pytest.fixture
def call(capsys):
    """``call(*arguments)`` → exit code, standard output, standard error."""
    from gcnlab.cli import main

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Table 5 of profile smoke, trained once: ``out``, ``store``, ``runs``, ``log``, ``failures``.

    Do not write into it.
    """
    out, log = tmp_path_factory.mktemp("smoke"), []
    store, runs = Store(out), table_configs(["5"], profiles.get("smoke"), [0])
    failures = scheduler.run_all(runs, store, log=log.append)
    return SimpleNamespace(out=out, store=store, runs=runs, log=log, failures=failures)


@pytest.fixture
def real_data(pytestconfig):
    """The real data: ``$GCNLAB_TEST_DATA`` or ``../shared/data`` beside the repository."""
    folder = os.environ.get("GCNLAB_TEST_DATA") or pytestconfig.rootpath.parent / "shared" / "data"
    folder = pytestconfig.rootpath / folder
    if not (folder / "VOCdevkit").is_dir():
        pytest.skip(f"no real data in {folder}: set GCNLAB_TEST_DATA to what holds VOCdevkit/")
    return folder


@pytest.fixture(scope="session")
def layout(tmp_path_factory):
    """A small data root in the official layouts, see ``made_data``; copy it before changing it."""
    folder = tmp_path_factory.mktemp("layout") / "data"
    write_all(folder)
    return folder


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=25, help="of a study, see tests/test_kills.py")


@pytest.fixture
def root(layout, tmp_path, monkeypatch):
    """A copy of that data root, which a test may damage; the catalogue is told its sizes."""
    for name, source in catalogue().items():
        monkeypatch.setitem(sources.SOURCES, name, source)
    forget()
    return shutil.copytree(layout, tmp_path / "data")
