"""What a forger would have to keep: the parts of a record fit each other, its data, and history."""

import json
import subprocess
from copy import deepcopy
from functools import cache, partial

import numpy as np
import pytest

from gcnlab.analysis import repeats
from gcnlab.analysis.selection import per_image_counts, run_of
from gcnlab.data.synthetic import voc
from gcnlab.data.synthetic.drawing import CLASSES, draw
from gcnlab.data.transforms import VOID
from gcnlab.evaluation import ConfusionMatrix
from gcnlab.evaluation.metrics import boundary_distance
from gcnlab.experiments import records
from gcnlab.experiments.config import Run
from gcnlab.experiments.measuring import CURVE_IMAGES, evenly_spaced
from gcnlab.experiments.profiles import PROFILES
from gcnlab.experiments.store import key_of
from gcnlab.report import exports
from gcnlab.report.session import Session

ROOT = records.COMMITTED.parent
near = partial(pytest.approx, abs=1e-6)  # errors are stored from float32


def matrix_of(rows):
    matrix = ConfusionMatrix(len(rows))
    matrix.matrix = np.array([row.split() for row in rows], np.int64)
    return matrix


def curve_miou(images):
    """mIoU on the images of the learning curve."""
    hits, predicted, true = images[evenly_spaced(CURVE_IMAGES, len(images))].sum(0).T
    union = predicted + true - hits
    return (hits / np.maximum(union, 1))[union > 0].mean()


def contradictions(record, others):
    """Names of the parts of ``record`` that contradict its other parts or the other records."""
    run, counts, metrics = run_of(record), record["counts"], record["metrics"]
    fits = {"key": key_of(run, record["identity"]) == record["key"]}
    if isinstance(run.start, Run):
        starts = [r["weights"] or r["key"] for r in others if r["name"] == run.start.name]
        fits["start"] = record["identity"]["start"] in starts
    if "top1_wrong" in counts:
        for n in (1, 5):
            wrong = counts[f"top{n}_wrong"] / counts["images"]
            fits[f"top{n}_error"] = metrics[f"top{n}_error"] == near(wrong)
    if "confusion" in counts:
        matrix, images = matrix_of(counts["confusion"]), per_image_counts(record)
        of = matrix.matrix
        sums = np.stack([np.diag(of), of.sum(0), of.sum(1)], 1)
        fits["per image"] = np.array_equal(images.sum(0), sums)
        fits["hits"] = (images[..., :1] <= images[..., 1:]).all()
        everything = counts["boundary"]["all"]
        by_distance = sorted(
            counts["boundary"].items(), key=lambda i: float(i[0].replace("all", "inf"))
        )
        right, counted = np.array([pair for _, pair in by_distance]).T
        nested = [np.diff(part, prepend=0) >= 0 for part in (right, counted - right)]
        fits["boundary"] = np.all(nested) and everything == [np.trace(of), of.sum()]
        inner, whole = counts["boundary"][f"{run.training.boundary_distance:g}"], everything
        again = {"miou": matrix.miou(), "pixel_accuracy": matrix.pixel_accuracy(),
                 "boundary_accuracy": inner[0] / inner[1],
                 "internal_accuracy": (whole[0] - inner[0]) / (whole[1] - inner[1])}  # fmt: skip
        if "training_confusion" in counts:
            again["training_miou"] = matrix_of(counts["training_confusion"]).miou()
        fits |= {name: metrics[name] == near(value) for name, value in again.items()}
        fits["iou"] = [*metrics["iou"].values()] == near(matrix.iou().tolist(), nan_ok=True)
        if record["history"]:  # on a GPU batches of other images may round differently
            last = record["history"][-1]["miou"]
            fits["learning curve"] = last == pytest.approx(curve_miou(images), abs=1e-3)
    return {name for name, true in fits.items() if not true}


@cache
def drawn_truth(count):
    """True pixels (images, classes), and pixels by distance to a boundary, of val drawn anew."""
    pixels, distances = [], []
    for i in range(count):
        scene = draw(np.random.default_rng([voc.VERSION, voc.STREAMS["val"], i]))
        label = np.where(scene.band, VOID, scene.classes)
        pixels.append(np.bincount(label.ravel(), minlength=256)[: len(CLASSES)])
        distances.append(boundary_distance(label)[label != VOID])
    return np.array(pixels), np.sort(np.concatenate(distances))


def contradicts_its_data(record):
    """Whether the true classes that a record on drawn shapes counted are not those drawn."""
    pixels, distances = drawn_truth(record["images"]["val"])
    boundary = {d: n for d, (_, n) in record["counts"]["boundary"].items() if d != "all"}
    drawn = {d: np.searchsorted(distances, float(d), "right") for d in boundary}
    return not np.array_equal(per_image_counts(record)[..., 2], pixels) or drawn != boundary


def on_shapes(record):
    return record["counts"].get("confusion") and "shapes" in run_of(record).data.name


def shift(rows, row, source, target, count):
    numbers = [line.split() for line in rows]
    for column, change in ((source, -count), (target, count)):
        numbers[row][column] = str(int(numbers[row][column]) + change)
    rows[:] = [" ".join(line) for line in numbers]


def add(counts, name, by):
    counts[name] += by


TAMPERINGS = {
    "miou": lambda r: add(r["metrics"], "miou", 0.01),
    "iou": lambda r: add(r["metrics"]["iou"], "background", -0.01),
    "training_miou": lambda r: add(r["metrics"], "training_miou", 0.01),
    "per image": lambda r: shift(r["counts"]["confusion"], 0, 0, 1, -1),
    "hits": lambda r: r["counts"]["per_image"].__setitem__(0, "0 9 8 9"),
    "boundary": lambda r: add(r["counts"]["boundary"]["3"], 0, 10**6),
    "learning curve": lambda r: add(r["history"][-1], "miou", 0.01),
    "key": lambda r: add(r["config"], "seed", 1),
    "start": lambda r: r["identity"].update(start="0" * 32),
}


@pytest.mark.parametrize("part", TAMPERINGS)
def test_a_changed_part_contradicts_the_others(part, smoke):
    own = records.read_all(smoke.out, "smoke")
    for record in own:
        assert contradictions(record, own) == set()
        assert not (on_shapes(record) and contradicts_its_data(record))
    record = deepcopy(next(r for r in own if r["name"] == "gcn-k15-s0"))
    TAMPERINGS[part](record)
    assert part in contradictions(record, own)


def test_a_changed_truth_contradicts_the_data(smoke):
    record = deepcopy(smoke.store.record(smoke.runs[0]))
    image = record["counts"]["per_image"][0].split()
    record["counts"]["per_image"][0] = " ".join([*image[:3], str(int(image[3]) + 1), *image[4:]])
    assert contradicts_its_data(record)


@pytest.mark.parametrize("profile", PROFILES)
def test_committed_records_fit_together_and_to_their_data(profile):
    own = records.read_all(records.COMMITTED, profile)
    if not own:
        pytest.skip(f"no records of profile {profile} are committed")
    assert {r["name"]: found for r in own if (found := contradictions(r, own))} == {}
    shapes = [record for record in own if on_shapes(record)]
    assert [record["name"] for record in shapes if contradicts_its_data(record)] == []


def git(*arguments):
    done = subprocess.run(
        ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def lost(path, manifest):
    """Entries of any committed version of the manifest ``path`` that ``manifest`` has not."""
    commits = git("log", "--format=%H", "--diff-filter=AM", "--", path).split()
    versions = (json.loads(git("show", f"{commit}:{path}")) for commit in commits)
    return sorted({name for old in versions for name, _ in old.items() - manifest.items()})


@pytest.mark.parametrize("profile", PROFILES)
def test_the_history_of_a_manifest_only_adds(profile):
    """Whoever makes records and manifest anew, tables and page and all, cannot make this anew.

    Records that a new schedule replaces are listed in ``withdrawn.json``, with the reason.
    """
    path = records.COMMITTED / profile / records.MANIFEST
    try:
        if git("rev-parse", "--is-shallow-repository").strip() == "true":
            pytest.skip("a shallow clone has no history: git fetch --unshallow")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git history: clone the repository")
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    withdrawn = path.with_name("withdrawn.json")
    if withdrawn.is_file():
        kept |= json.loads(withdrawn.read_text(encoding="utf-8"))["records"]
    assert lost(path.relative_to(ROOT).as_posix(), kept) == []


def test_a_second_run_lands_where_the_study_expects_it():
    """At least nine of ten cells; nothing of it is in the study itself."""
    profile = PROFILES["quick"]
    again, study = (
        records.read_all(folder, "quick") for folder in (records.REPEATED, records.COMMITTED)
    )
    if not again:
        pytest.skip("no second run is committed")
    frame = repeats.second_run(profile, study, again)
    assert len(frame) == repeats.DRAWN and (frame["inside"] == "yes").sum() >= 9
    assert records.check_manifest(records.REPEATED / "quick") == []
    assert {r["key"] for r in again if "miou" in r["metrics"]}.isdisjoint(r["key"] for r in study)


@pytest.mark.parametrize("name", ["quick", "photos"])
def test_committed_tables_are_what_the_records_say(name, tmp_path):
    session = Session(name, out=records.COMMITTED)
    exports.write_tables(session, session.judge(), tmp_path)
    committed = {path.name: path for path in (records.COMMITTED / name / "tables").iterdir()}
    assert committed.keys() == {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == committed[path.name].read_bytes(), path.name
