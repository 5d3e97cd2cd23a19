"""``predict``: segment pictures of one's own with a trained run."""

import argparse

from gcnlab.cli.showing import say
from gcnlab.errors import UserError
from gcnlab.experiments.prediction import Predictor, check_pictures, find_record, outputs, predict
from gcnlab.experiments.resources import check_writable


def act(options: argparse.Namespace) -> None:
    existing = [path for path in outputs(options.pictures, options.out) if path.exists()]
    if existing and not options.force:
        remedy = "name another folder (--out DIR), or replace it (--force)"
        raise UserError(f"{existing[0]} is there already: {remedy}")
    check_pictures(options.pictures)
    predictor = Predictor(find_record(options.run, options.runs))
    check_writable(options.out)
    for line in predict(options.pictures, predictor, options.out):
        say(line)
