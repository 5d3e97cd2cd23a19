"""How models are trained: one step, one loop, for every variant and for pre-training."""

from gcnlab.training.loop import Diverged, save_atomically, train
from gcnlab.training.schedule import Schedule
from gcnlab.training.step import IGNORE_INDEX, Step, autocast, best_precision, make_step

# Part of every run's key. Raise it when a change of models, data preparation or training makes the
# same config end with other weights; tests/test_golden.py notices such a change on every path.
TRAINING_VERSION = 2

__all__ = [
    "IGNORE_INDEX",
    "TRAINING_VERSION",
    "Diverged",
    "Schedule",
    "Step",
    "autocast",
    "best_precision",
    "make_step",
    "save_atomically",
    "train",
]
