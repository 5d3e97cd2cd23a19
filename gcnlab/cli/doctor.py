"""``doctor``: what this machine and its packages are fit for, and what to do about the rest."""

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from gcnlab.cli.ending import DONE, FAILED
from gcnlab.errors import UserError
from gcnlab.experiments.records import COMMITTED
from gcnlab.processes import cores

CHECKOUT = COMMITTED.parent
NEEDED = ("core", "notebooks", "test")  # groups of packages that the README's two commands need
ROOM = 2e9  # bytes: on disk for profile quick and again for drawn data, of memory for a run


class Finding(NamedTuple):
    """What is there, and what to do if that is not enough.

    One that is ``fatal`` keeps ``./run_all.sh`` or ``./run_all.sh test`` from working.
    """

    name: str
    value: str
    remedy: str = ""
    fatal: bool = False


def act(options: argparse.Namespace) -> int:
    findings = [*_packages(), *_machine(options)]
    if options.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        for f in findings:
            print(f"{'no' if f.fatal else '--' if f.remedy else 'ok'}  {f.name}: {f.value}")
            print(f"    → {f.remedy}\n" if f.remedy else "", end="")
    return FAILED if any(finding.fatal for finding in findings) else DONE


def _packages() -> Iterator[Finding]:
    """Python, and every group of packages of ``pyproject.toml`` beside ``constraints.txt``."""
    if not (CHECKOUT / "constraints.txt").is_file():
        remedy = "clone the repository: notebooks and run_all.sh are no part of the package"
        yield Finding("checkout", f"{CHECKOUT} is none", remedy, True)
        return
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    low, high = map(int, re.findall(r"3\.(\d+)", project["requires-python"]))
    fits = low <= sys.version_info[1] < high
    use = f"use Python 3.{low} to 3.{high - 1}: PYTHON=python3.{low} ./run_all.sh"
    python = f"{platform.python_version()} ({sys.executable})"
    yield Finding("python", python, "" if fits else use, not fits)
    pins = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").lower()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", pins, re.M))
    groups = {"core": project["dependencies"]} | project["optional-dependencies"]
    for group, lines in groups.items():
        bounds = re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(lines), re.M)
        yield _group(group, dict(bounds), pinned)


def _group(group: str, bounds: dict[str, str], pinned: dict[str, str]) -> Finding:
    good, bad = [], []
    for name, bound in bounds.items():
        try:
            own = version(name)
        except PackageNotFoundError:
            bad.append(f"{name} is missing")
            continue
        if [int(n) for n in re.findall(r"\d+", own)] < [int(n) for n in bound.split(".")]:
            bad.append(f"{name} {own} is older than {bound}")
        else:
            other = f" (committed results: {pinned[name]})"
            good.append(f"{name} {own}" + other * (own.partition("+")[0] != pinned[name]))
    extra = "" if group == "core" else f"[{group}]"
    install = f"{sys.executable} -m pip install -c constraints.txt -e '.{extra}'"
    remedy = f"in {CHECKOUT}: {install}, or ./run_all.sh makes .venv" if bad else ""
    fatal = bool(bad) and group in NEEDED
    return Finding(f"packages ({group})", ", ".join(bad + good), remedy, fatal)


def _machine(options: argparse.Namespace) -> Iterator[Finding]:
    """What is known only once torch and torchvision can be imported."""
    try:
        from gcnlab.data.synthetic.cache import cache_folder
        from gcnlab.experiments import environment, scheduler

        device, arithmetic = environment.device_name(), environment.arithmetic()
    except Exception as error:  # whatever a broken build raises
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        remedy = "install torch and torchvision together, from one index; unset GCNLAB_DEVICE"
        yield Finding("device", problem, remedy, True)
        return
    jobs, memory = scheduler.default_jobs(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    unused = arithmetic["device"] == "cpu" and shutil.which("nvidia-smi")
    remedy = "to use the GPU install a CUDA build of torch that fits its driver" if unused else ""
    how = "{precision}, {threads} thread per run".format(**arithmetic)
    yield Finding("device", f"{device}, {how}, {jobs} runs at a time", remedy)
    remedy = "" if memory >= jobs * ROOM else "a run needs up to 2 GB: use --jobs 1"
    yield Finding("machine", f"{cores()} cores, {memory / 1e9:.0f} GB memory", remedy)
    yield _folder("runs (--out)", options.out, "choose another --out")
    yield _folder("drawn data", cache_folder(), "set GCNLAB_CACHE to another folder")
    yield _real_data(options.data_root)
    yield _kernel()
    commit, dirty = (environment.provenance()[name] for name in ("commit", "dirty"))
    remedy = "" if commit else "records will name no commit: use a git clone"
    yield Finding("commit", f"{commit}{', with local changes' * bool(dirty)}", remedy)


def _folder(name: str, path: Path, other: str) -> Finding:
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    free, writable = shutil.disk_usage(nearest).free, os.access(nearest, os.W_OK | os.X_OK)
    remedy = "" if writable and free >= ROOM else f"{ROOM / 1e9:.0f} GB are needed: {other}"
    state = f"{free / 1e9:.1f} GB free" if writable else "cannot be written"
    return Finding(name, f"{path}, {state}", remedy, bool(remedy))


def _real_data(data_root: Path | None) -> Finding:
    from gcnlab.data import SOURCES

    if data_root is None:
        return Finding("real data", "not looked for: --data-root DIR does; drawn data need none")
    present = []
    for name, source in SOURCES.items():
        with suppress(UserError):
            if source.default_root is None:
                images = {s: len(source.samples(data_root, s)) for s in source.official_counts}
                present.append(f"{name} ({', '.join(f'{s} {n}' for s, n in images.items())})")
    remedy = "" if present else "see docs/data.md, and python -m gcnlab data check NAME"
    return Finding("real data", f"{data_root}: {'; '.join(present) or 'none'}", remedy)


def _kernel() -> Finding:
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        python = KernelSpecManager().get_kernel_spec("python3").argv[0]
        other = Path(python).is_absolute() and not Path(python).samefile(sys.executable)
    except Exception as error:  # no Jupyter, or no such kernel
        remedy = "install the packages for notebooks; python -m gcnlab run needs none"
        return Finding("kernel", f"none ({error})", remedy, True)
    remedy = f"notebooks run there: {sys.executable} -m ipykernel install --sys-prefix"
    return Finding("kernel", python, remedy * other)
