"""Where a user's run differs from the committed study by more than its seeds explain."""

import pandas as pd

from gcnlab.analysis import statistics
from gcnlab.analysis.tables import METRIC_NAMES


def surprises(frame: pd.DataFrame) -> tuple[list[str], int]:
    """Cells of a long table (:func:`gcnlab.analysis.tables.compare`) that differ, in words.

    Those are cells whose own mean is outside the 95 % prediction interval from the study's seeds.
    The second value counts the cells of which the study has one seed, which tells no spread.
    """
    differ, alone = [], 0
    for cell in frame.to_dict("records"):
        study, own = (list(cell[f"{name}_scores"].values()) for name in ("study", "local"))
        if len(study) < 2 or not own:
            alone += bool(study and own)
            continue
        low, high = statistics.prediction_interval(study, len(own))
        mean = sum(own) / len(own)
        if not low <= mean <= high:
            name = f"{cell['row']} {cell['column']}, {METRIC_NAMES[cell['metric']]}"
            differ.append(f"{name}: {mean:.1f}, expected {low:.1f} … {high:.1f}")
    return differ, alone
