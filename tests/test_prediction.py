"""A finished run on pictures of one's own."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from made import SMOKE, Stripes
from PIL import Image

from gcnlab import data
from gcnlab.analysis.tables import table_configs
from gcnlab.data.readers import read_image
from gcnlab.errors import UserError
from gcnlab.evaluation import ConfusionMatrix
from gcnlab.evaluation.crf import dense_crf
from gcnlab.experiments import prediction, probabilities, scheduler
from gcnlab.experiments.prediction import Predictor, find_record, predict
from gcnlab.experiments.store import Store

STREET = table_configs(["9"], SMOKE, [0])
_, STAGE_2, MS, MS_CRF = (run for run in STREET if run.training.head == "gcn")
VOC_STAGE_1 = table_configs(["7"], SMOKE, [0])[0]


@pytest.fixture(scope="module")
def staged(smoke, tmp_path_factory):
    """The four GCN runs of Table 9, the CRF tuned on three images; and one of Table 7."""
    out = shutil.copytree(smoke.out, tmp_path_factory.mktemp("staged") / "out")
    store = Store(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probabilities, "TUNING_IMAGES", 3)
        failures = scheduler.run_all([MS_CRF, VOC_STAGE_1], store, log=lambda _: None)
    assert failures == []
    return store


@pytest.fixture
def pictures(tmp_path):
    """Pictures of a user, of all kinds: name → file."""
    kinds = {"grey.png": ("L", 37, 23), "clear.png": ("RGBA", 31, 50), "dot.png": ("RGB", 1, 1),
             "palette.gif": ("P", 41, 41), "large.jpg": ("RGB", 300, 170)}  # fmt: skip
    paths = {name.split(".")[0]: tmp_path / "pictures" / name for name in kinds}
    (tmp_path / "pictures").mkdir()
    for path, (mode, width, height) in zip(paths.values(), kinds.values(), strict=True):
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
    return paths


def opened(path):
    with Image.open(path) as image:
        return image.copy()


def is_one_line(answer, *words):
    """Of a refused command: exit code 2, nothing on standard output, one line on standard error."""
    code, printed, errors = answer
    assert code == 2 and printed == "" and len(errors.splitlines()) == 1, errors
    assert errors.startswith("gcnlab: ") and all(str(word) in errors for word in words), errors


def test_every_picture_becomes_class_ids_and_an_overlay(pictures, smoke, tmp_path):
    predictor = Stripes(smoke.runs[0])
    lines = predict([*pictures.values()], predictor, tmp_path)
    for path, line in zip(pictures.values(), lines, strict=True):
        image, ids = np.array(read_image(path)), opened(tmp_path / f"{path.stem}.png")
        overlay = np.array(opened(tmp_path / f"{path.stem}_overlay.png"))
        classes, colours = np.array(ids), np.array(ids.convert("RGB"))
        assert ids.mode == "P" and np.array_equal(classes, predictor(read_image(path)))
        assert (colours[classes == 1] == [128, 0, 0]).all(), "as VOC's"
        assert (colours[classes == 4] == [0, 0, 128]).all()
        shown = np.where(classes[..., None] == 0, image, image / 2 + colours / 2)
        assert np.abs(overlay - shown).max() <= 0.5, "background stays, classes shine through"
        shares = [float(part.split()[-2]) for part in line.removeprefix(f"{path}: ").split(", ")]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.5)


def test_more_than_256_classes_keep_their_ids(pictures, tmp_path):
    """300 must not become 44."""
    names = tuple(map(str, range(1000)))
    run = SimpleNamespace(data=SimpleNamespace(source=SimpleNamespace(classes=names)))
    predictor = Stripes(run)
    list(predict([pictures["large"]], predictor, tmp_path))
    written = np.array(opened(tmp_path / "large.png"))
    assert np.array_equal(written, predictor(read_image(pictures["large"]))) and written.max() > 300
    spec = SimpleNamespace(classes=None, class_names=names)
    assert prediction._class_ids(spec)[300] == 300
    few = SimpleNamespace(classes=(7, 255), class_names="ab")
    assert prediction._class_ids(few).dtype == np.uint8


def test_a_picture_is_looked_at_as_validation_images_are(smoke):
    """Stage-1 of profile paper trains at 640 pixels and is scored at 512."""
    run, sizes = smoke.runs[2], []
    predictor = Predictor(smoke.store.record_path(run))
    predictor.run = replace(run, data=replace(run.data, side=96, val_side=64))
    predictor.model.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[-2:]))
    assert predictor(Image.new("RGB", (200, 100))).shape == (100, 200)
    assert sizes == [(64, 64)]


def test_a_run_on_pictures_of_all_kinds(pictures, smoke, tmp_path, call):
    run, out = smoke.runs[2], tmp_path / "new" / "folder"
    where = ("--run", smoke.store.key(run), "--runs", smoke.out, "--out", out)
    code, printed, errors = call("predict", *pictures.values(), *where)
    assert (code, errors) == (0, "") and len(printed.splitlines()) == len(pictures)
    for name, path in pictures.items():
        ids = opened(out / f"{name}.png")
        assert ids.mode == "P" and ids.size == opened(path).size and np.array(ids).max() < 8
    by_name = ("--run", run.name, "--runs", smoke.out, "--out", tmp_path)
    code, again, _ = call("predict", pictures["large"], *by_name)
    assert code == 0 and again in printed, "a name does for a key"


def test_pictures_are_shown_no_larger_than_those_of_the_profile(pictures, smoke):
    predictor, seen = Predictor(smoke.store.record_path(smoke.runs[1])), []
    predictor.model.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-2:]))
    for path in pictures.values():
        predictor(read_image(path))
    assert seen == [(64, 64)] * len(pictures), "padded as the images of the recorded run"


@pytest.mark.slow
@pytest.mark.parametrize("run", [STAGE_2, MS, VOC_STAGE_1], ids=lambda run: run.name)
def test_a_picture_is_looked_at_as_in_the_recorded_run(run, staged):
    """The validation images, given as pictures, have the recorded scores; Stage-1's are padded."""
    count = len(run.data.source.classes)
    predictor, confusion = Predictor(staged.record_path(run)), ConfusionMatrix(count)
    for sample in data.samples(run.data, "val"):
        confusion.update(predictor(read_image(sample.image)), sample.read_label(count))
    iou = dict(zip(run.data.source.classes, confusion.iou(), strict=True))
    for name, expected in staged.record(run)["metrics"]["iou"].items():
        assert expected is None or iou[name] == pytest.approx(expected, abs=0.02), name


@pytest.mark.slow
def test_the_crf_of_a_run_is_applied_to_pictures_too(staged):
    predictor, plain = (Predictor(staged.record_path(run)) for run in (MS_CRF, MS))
    assert predictor.how == plain.how == MS.test_time
    image = read_image(data.samples(MS.data, "val")[0].image)
    scores = np.load(staged.output(MS) / "val" / "0.npy").astype(np.float32)
    kernels, iterations = MS_CRF.crf.candidates[0], MS_CRF.crf.iterations
    refined = dense_crf(scores, np.array(image), kernels, "exact", iterations).argmax(0)
    expected = np.array(MS.data.classes)[refined]
    assert np.mean(predictor(image) == expected) > 0.99 > np.mean(plain(image) == expected)


def test_files_that_were_not_given_are_not_replaced(pictures, smoke, tmp_path, call):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    grey, large = pictures["grey"], pictures["large"]
    out.mkdir()
    twin = shutil.copy(grey, tmp_path / "grey.png")
    overlay = shutil.copy(grey, tmp_path / "grey_overlay.png")
    (out / "large_overlay.png").write_text("mine", encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    where = ("--run", smoke.runs[0].name, "--runs", smoke.out)
    for given, target, word in (
        ([grey, twin], out, "two outputs would be called grey.png"),
        ([large, grey], folder, f"would replace {grey}"),
        ([grey], folder / ".." / "pictures", "would replace"),
        ([grey, overlay], out, "grey_overlay"),  # the overlay of one, the class ids of the other
        ([large], out, "large_overlay.png is there already"),
    ):
        is_one_line(call("predict", *given, *where, "--out", target), word)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    is_one_line(call("predict", grey, *where, "--out", folder, "--force"), "would replace")
    assert call("predict", large, *where, "--out", out, "--force")[0] == 0
    assert opened(out / "large_overlay.png").size == (300, 170)


def test_a_name_of_two_runs(smoke, tmp_path):
    out = shutil.copytree(smoke.out, tmp_path / "runs")
    path, key = find_record(smoke.runs[2].name, out), "0123456789ab"
    shutil.copy(path, path.with_name(f"{smoke.runs[2].name}-{key}.json"))
    with pytest.raises(UserError, match=f"{key}.*: name one by its key"):
        find_record(smoke.runs[2].name, out)
    assert find_record(key, out).stem.endswith(key)


@pytest.mark.slow
def test_a_crf_without_the_run_that_it_starts_from(staged, tmp_path, caught):
    out = shutil.copytree(staged.out, tmp_path / "out")
    find_record(STAGE_2.name, out).unlink()
    with pytest.raises(UserError) as info:
        Predictor(find_record(MS_CRF.name, out))
    assert f"starts from {STAGE_2.name}, which is not in" in caught(info)
