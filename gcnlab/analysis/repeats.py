"""Where a second run differs from the committed study by more than its seeds explain."""

from collections.abc import Sequence
from random import Random

import pandas as pd

from gcnlab.analysis import statistics
from gcnlab.analysis.scores import describe
from gcnlab.analysis.selection import by_variant, is_diverged, metric, seed_of
from gcnlab.analysis.tables import METRIC_NAMES, all_variants
from gcnlab.errors import UserError
from gcnlab.experiments.config import Run
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record
from gcnlab.experiments.variants import Variant

DRAWN = 10


def drawn(profile: Profile, study: Sequence[Record]) -> list[Run]:
    """Ten cells of ``study`` with three seeds or more, drawn at random, each with a new seed.

    ``UserError`` if the study has no such cell.
    """
    least = statistics.LEAST_SEEDS
    cells = sorted((v for v, s in _scores(profile, study).items() if len(s) >= least), key=str)
    if not cells:
        raise UserError(f"no cell of profile {profile.name} has {least} seeds in the study yet")
    chosen = Random(0).sample(cells, min(DRAWN, len(cells)))
    seed = 1 + max(map(seed_of, study))
    return [variant.config(profile, seed) for variant in chosen]


def second_run(
    profile: Profile, study: Sequence[Record], repeated: Sequence[Record]
) -> pd.DataFrame:
    """Cells of both beside each other: mIoU expected with 95 % from the study's seeds, and found;
    a second run that diverged is outside."""
    rows, before = [], _scores(profile, study)
    again = _scores(profile, repeated, diverged=True)
    for variant, scores in ((v, s) for v, s in again.items() if v in before):
        low, high = statistics.prediction_interval(before[variant], len(scores))
        score, expected = sum(scores) / len(scores), f"{low:.1f} … {high:.1f}"
        inside = "yes" if low <= score <= high else "no"
        rows.append((describe(variant), len(before[variant]), expected, f"{score:.1f}", inside))
    columns = ["cell", "seeds in the study", "expected mIoU", "second run", "inside"]
    return pd.DataFrame(rows, columns=columns).set_index("cell")


def sentence(profile: Profile, study: Sequence[Record], repeated: Sequence[Record]) -> str:
    """How many cells of a second run are where the study expected them, and which are not."""
    frame = second_run(profile, study, repeated)
    outside = frame[frame["inside"] == "no"]
    text = (
        f"{len(frame)} cells of profile {profile.name}, drawn at random, were trained again with a "
        f"new seed: {len(frame) - len(outside)} are inside the 95 % prediction interval of the "
        "study's own seeds"
    )
    missed = [f"{n}: {row['second run']}, expected {row['expected mIoU']}"
              for n, row in outside.iterrows()]  # fmt: skip
    return f"{text}, outside is {'; '.join(missed)}." if missed else f"{text}."


def _scores(
    profile: Profile, records: Sequence[Record], diverged: bool = False
) -> dict[Variant, list[float]]:
    """mIoU of the seeds of every segmenter; one that diverged leaves its cell out, or counts."""
    variants = {v.config(profile, 0): v for v in reversed(all_variants()) if v.head is not None}
    groups = by_variant(profile, records, variants.values())  # of equal variants the first
    return {
        variant: [metric(record, "miou") for record in group]
        for variant, group in groups.items()
        if diverged or not any(map(is_diverged, group))
    }


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
