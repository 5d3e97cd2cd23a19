"""``submit``: predict the test images of a benchmark, check the files, and pack them."""

import argparse

from gcnlab.cli.showing import say
from gcnlab.experiments.prediction import Predictor, find_record, segmentation_run
from gcnlab.experiments.resources import check_writable
from gcnlab.experiments.submission import Submission


def act(options: argparse.Namespace) -> None:
    record = find_record(options.run, options.runs)
    key = record.stem.rpartition("-")[2]
    job = Submission(segmentation_run(record), key, options.out, options.data_root)
    if options.check:
        return say(f"{job.folder}: {job.check()} predictions, as the server wants them")
    check_writable(options.out)
    say(f"checked, ready to upload: {job.submit(Predictor(record), say)}")
