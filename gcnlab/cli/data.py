"""``data``: is this data set as its authors published it, and the study's photographs anew."""

import argparse

from gcnlab.cli.ending import BAD_INPUT, DONE, FAILED, tell
from gcnlab.cli.showing import print_json
from gcnlab.data import SOURCES, photographs
from gcnlab.data.check import check, describe
from gcnlab.errors import UserError, check_name


def act(options: argparse.Namespace) -> int:
    return {"check": _check, "scale": _scale}[options.action](options)


def _check(options: argparse.Namespace) -> int:
    check_name("data set", options.name, SOURCES)
    if options.out is not None:
        raise UserError("data check writes nothing: leave --out away")
    result = check(options.name, options.data_root)
    print_json(result) if options.json else print(describe(result))
    if overlap := result.get("overlap"):
        problem = f"{len(overlap)} images are in train and val, first {overlap[0]}"
        tell(f"gcnlab: {result['root']}: {problem}: use the official files")
    return BAD_INPUT if overlap else DONE


def _scale(options: argparse.Namespace) -> int:
    check_name("data set", options.name, ("voc",))
    if None in (options.data_root, options.out):
        raise UserError("data scale needs --data-root DIR and --out DIR")
    other = photographs.scale(options.data_root, options.out)
    if options.json:
        print_json({"out": str(options.out), "other_bytes": list(map(str, other))})
        return FAILED if other else DONE
    count = f"{2 * len(photographs.listed('VOC', 'SBD')):,} files are in {options.out}"
    if not other:
        print(f"{count}, byte for byte those of the committed study")
        return DONE
    print(f"{count}; {len(other):,} have other bytes than the committed study's, first {other[0]}")
    print("records made with them have keys of their own: compare scores, not records")
    return FAILED
