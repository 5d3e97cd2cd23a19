"""``bench``: what the engine gains over plain code, measured on this machine."""

import argparse
import json

from gcnlab import files
from gcnlab.cli.showing import say
from gcnlab.experiments import bench, resources


def act(options: argparse.Namespace) -> None:
    resources.check_writable(options.out)
    measured = bench.measure(log=say)
    path = options.out / "bench.json"
    files.write(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", path)
    say(f"written: {path}")
