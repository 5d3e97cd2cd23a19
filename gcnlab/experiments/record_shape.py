"""What a record looks like: its names and types, down to the numbers that tables are made of.

A shape is a type; a pattern that a text matches; ``(shape,)``, which may also be null or absent;
``[shape]``, a list of any length, or ``[shape, shape]``, one of two; or a dict: what it names must
be there, ``str`` stands for all other names, and without it they may be anything.
"""

import re
from typing import Any

_NUMBER = int | float | None  # null is an undefined number
_SCORES = {str: _NUMBER}
_MATRIX = ([re.compile(r"\d+( \d+)*")],)
_PER_IMAGE = ([re.compile(r"((^| )\d+ \d+ \d+ \d+)*")],)  # class, hits, predicted, true pixels

_COMMON = {
    "format": int, "kind": str, "key": str, "name": str, "config": dict,
    "identity": {"data": str, "start": str | None, "device": str, "precision": str,
                 "threads": int, "training_version": int},
    "evaluation_version": int,
    "environment": {"finished": str, "device": str | None, "seconds": _NUMBER,
                    "peak_memory": _NUMBER, "versions": ({},), "rules": str | None},
}  # fmt: skip
_RUN = _COMMON | {
    "metrics": {"iou": (_SCORES,), **_SCORES},
    "counts": {"confusion": _MATRIX, "training_confusion": _MATRIX, "per_image": _PER_IMAGE,
               "boundary": ({str: [int, int]},), str: int},
    "history": [{"step": int, **_SCORES}], "images": {"train": int, "val": int},
    "weights": str | None, "diverged": str | None,
    "kernel": ({"spectrum": [int | float], **_SCORES},),
}  # fmt: skip
_FIELDS = _COMMON | {
    "identity": _COMMON["identity"] | {"weights": str},
    "objects": [{"image": str, str: _NUMBER}], "by_size": {str: [_NUMBER]},
    "settings": {"edges": [int | float]}, "theoretical": int,
}  # fmt: skip
SHAPES = {"pre-training": _RUN, "training": _RUN, "evaluation": _RUN,
          "crf": _RUN | {"crf": {"chosen": {}}}, "receptive-field": _FIELDS}  # fmt: skip


def check(value: Any, shape: Any, name: str = "record") -> None:
    """``ValueError`` that names the first part of ``value``, called ``name``, of another shape."""
    if isinstance(shape, tuple):
        if value is not None:
            check(value, shape[0], name)
    elif isinstance(shape, dict) and isinstance(value, dict):
        for key in (shape.keys() | value.keys()) - {str}:
            check(value.get(key), shape.get(key, shape.get(str, object)), f"{name}.{key}")
    elif isinstance(shape, list) and isinstance(value, list):
        if 1 < len(shape) != len(value):
            raise ValueError(f"{name} has {len(value)} entries, not {len(shape)}")
        for item in value:
            check(item, shape[0], f"{name}[]")
    elif isinstance(shape, re.Pattern) and isinstance(value, str) and shape.fullmatch(value):
        pass
    elif isinstance(shape, dict | list | re.Pattern) or not isinstance(value, shape):
        kind = getattr(shape, "__name__", type(shape).__name__)
        raise ValueError(f"{name} is {value!r:.40}, not {kind}")
