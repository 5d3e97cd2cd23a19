"""``data check``: is this data set complete, and as its authors published it?"""

import argparse

from gcnlab.cli import names
from gcnlab.cli.ending import BAD_INPUT, DONE, tell
from gcnlab.cli.showing import print_json
from gcnlab.data import SOURCES
from gcnlab.data.check import check, describe


def act(options: argparse.Namespace) -> int:
    names.check("data set", options.name, SOURCES)
    result = check(options.name, options.data_root)
    print_json(result) if options.json else print(describe(result))
    if overlap := result.get("overlap"):
        problem = f"{len(overlap)} images are in train and val, first {overlap[0]}"
        tell(f"gcnlab: {result['root']}: {problem}: use the official files")
    return BAD_INPUT if overlap else DONE
