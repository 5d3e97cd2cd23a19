"""``records``: compare a profile's records with their manifest, or add new ones to it."""

import argparse

from gcnlab.cli.ending import DONE, FAILED
from gcnlab.errors import UserError
from gcnlab.experiments import records


def act(options: argparse.Namespace) -> int:
    folder = options.out / options.profile
    if not records.digests(folder):
        raise UserError(f"no records below {folder}: name their folder (--out DIR --profile NAME)")
    if options.action == "add":
        print(f"{folder / records.MANIFEST}: {records.extend_manifest(folder)} records added")
        return DONE
    differences = records.check_manifest(folder)
    for line in differences:
        print(line)
    count = len(records.digests(folder))
    print(f"{count} records below {folder}, {len(differences)} differences from their manifest")
    return FAILED if differences else DONE
