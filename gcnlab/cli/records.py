"""``records``: compare a profile's records with their manifest, or add new ones to it."""

import argparse

from gcnlab.cli.ending import DONE, FAILED
from gcnlab.errors import UserError
from gcnlab.experiments import records


def act(options: argparse.Namespace) -> int:
    folder = options.out / options.profile
    count = len(records.digests(folder))
    if not count:
        raise UserError(f"no records below {folder}: name their folder (--out DIR --profile NAME)")
    if options.action == "add":
        print(f"{folder / records.MANIFEST}: {records.extend_manifest(folder)} records added")
        return DONE
    differences = records.check_manifest(folder)
    total = f"{count} records below {folder}, {len(differences)} differences from their manifest"
    print(*differences, total, sep="\n")
    return FAILED if differences else DONE
