"""A finished run on pictures of one's own and on a benchmark's test images, and the staged runs that lead there."""

import shutil
import tarfile
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gcnlab import data
from gcnlab.data import DataSpec
from gcnlab.data.readers import read_image
from gcnlab.errors import UserError
from gcnlab.evaluation import ConfusionMatrix, crf
from gcnlab.evaluation.crf import Crf, Pairwise, dense_crf
from gcnlab.study import experiment, prediction, profiles, results, runner, variants
from gcnlab.study.prediction import Predictor, check_submission, find_record, palette_png
from gcnlab.study.run import artefact, build_model, run_key
from gcnlab.study.session import Session
from gcnlab.training import Schedule

LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]  # of cityscapesScripts
STAGE_1, STAGE_2, MS, MS_CRF = (r for r in variants.table_runs(["9"], profiles.get("smoke"), [0]) if r.head == "gcn")
VOC_STAGE_1 = variants.table_runs(["7"], profiles.get("smoke"), [0])[0]


class Stripes:
    """Stands in for a Predictor: every class of the data set in turn, and a few things that depend on the picture."""

    def __init__(self, run):
        self.run, self.key, self.classes = run, "stripes", len(run.data.source.classes)

    def __call__(self, image):
        red = np.array(image)[..., 0]
        return ((np.indices(red.shape).sum(0) // 3 + red // 128) % self.classes).astype(np.uint8)


@pytest.fixture(scope="module")
def staged(smoke, tmp_path_factory):
    """The four GCN runs of Table 9, the CRF tuned on three images while no weights are there; one of Table 7."""
    out, log = shutil.copytree(smoke.out, tmp_path_factory.mktemp("staged") / "out"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "TUNING_IMAGES", 3)
        failures = runner.run_all([MS], out, log=log.append)
        away = (out / "smoke" / "weights").rename(out / "away")
        failures += runner.run_all([MS_CRF], out, log=log.append)
        away.rename(out / "smoke" / "weights")
        failures += runner.run_all([VOC_STAGE_1], out, log=log.append)
    return SimpleNamespace(out=out, log=log, failures=failures)


@pytest.fixture
def pictures(tmp_path):
    """Pictures of a user, of all kinds: name → file."""
    kinds = {"grey.png": ("L", 37, 23), "clear.png": ("RGBA", 31, 50), "palette.gif": ("P", 41, 41),
             "large.jpg": ("RGB", 300, 170), "dot.png": ("RGB", 1, 1), "print.tif": ("CMYK", 90, 7)}  # fmt: skip
    (tmp_path / "pictures").mkdir()
    for name, (mode, width, height) in kinds.items():
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(tmp_path / "pictures" / name)
    return {name.split(".")[0]: tmp_path / "pictures" / name for name in kinds}


def record(run, out):
    return find_record(run_key(run), out)


def predictor(run, out):
    return Predictor(record(run, out), out)


def opened(path):
    with Image.open(path) as image:
        return image.copy()


def refused(act, caught, *named):
    with pytest.raises(UserError) as info:
        act()
    assert all(str(name) in caught(info) for name in named), info.value


def is_one_line(answer, *named):
    """Of a refused command: exit code 2, nothing on standard output, one line on standard error."""
    code, printed, errors = answer
    assert code == 2 and printed == "" and len(errors.splitlines()) == 1 and errors.startswith("gcnlab: ")
    assert all(str(name) in errors for name in named), errors


# --- pictures of one's own -----------------------------------------------------------------------


def test_every_picture_becomes_class_ids_and_an_overlay(pictures, smoke, tmp_path):
    stripes = Stripes(smoke.runs[0])
    for path, line in zip(pictures.values(), prediction.predict([*pictures.values()], stripes, tmp_path), strict=True):
        image = np.array(read_image(path))
        overlay = np.array(opened(tmp_path / f"{path.stem}_overlay.png"))
        ids = opened(tmp_path / f"{path.stem}.png")
        found, colours = np.array(ids), np.array(ids.convert("RGB"))
        assert ids.mode == "P" and np.array_equal(found, stripes(read_image(path)))
        assert (colours[found == 1] == [128, 0, 0]).all() and (colours[found == 4] == [0, 0, 128]).all(), "as VOC's"
        shown = np.where(found[..., None] == 0, image, image / 2 + colours / 2)
        assert np.abs(overlay - shown).max() <= 0.5, "background stays, classes shine through"
        shares = [float(part.split()[-2]) for part in line.removeprefix(f"{path}: ").split(", ")]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.5)


def test_a_run_on_pictures_of_all_kinds(pictures, smoke, tmp_path, call):
    run, out = smoke.runs[2], tmp_path / "new" / "folder"
    files = list(pictures.values())
    code, printed, errors = call("predict", *files, "--run", run_key(run), "--runs", smoke.out, "--out", out)
    assert code == 0 and errors == "" and len(printed.splitlines()) == len(pictures) == len(list(out.iterdir())) / 2
    for name, path in pictures.items():
        ids = opened(out / f"{name}.png")
        assert ids.mode == "P" and ids.size == opened(path).size and np.array(ids).max() < 8
    code, again, _ = call("predict", pictures["large"], "--run", run.name, "--runs", smoke.out, "--out", tmp_path)
    assert code == 0 and again in printed, "a name does for a key"


def test_pictures_are_shown_no_larger_than_those_of_the_profile(pictures, smoke):
    found, seen = predictor(smoke.runs[1], smoke.out), []
    found.model.register_forward_pre_hook(lambda _, images: seen.append(tuple(images[0].shape[-2:])))
    for path in pictures.values():
        found(read_image(path))
    assert seen == [(64, 64)] * len(pictures), "padded as the images of the recorded run"


@pytest.mark.slow
@pytest.mark.parametrize("run", [STAGE_2, MS, VOC_STAGE_1])
def test_a_picture_is_looked_at_as_in_the_recorded_run(run, staged):
    """The validation images, given as pictures, have the recorded scores; those of Stage-1 are padded."""
    count = len(run.data.source.classes)
    found, confusion = predictor(run, staged.out), ConfusionMatrix(count)
    for sample in data.samples(run.data, "val"):
        confusion.update(found(read_image(sample.image)), sample.read_label(count))
    iou = dict(zip(run.data.source.classes, confusion.iou(), strict=True))
    for name, expected in record(run, staged.out)["metrics"]["iou"].items():
        assert iou[name] == pytest.approx(expected, abs=0.02), name


@pytest.mark.slow
def test_the_crf_of_a_run_is_applied_to_pictures_too(staged):
    found, plain = predictor(MS_CRF, staged.out), predictor(MS, staged.out)
    assert found.how == plain.how == MS.test_time
    image = read_image(data.samples(MS.data, "val")[0].image)
    scores = np.load(artefact(MS, staged.out) / "val" / "0.npy").astype(np.float32)
    refined = dense_crf(scores, np.array(image), MS_CRF.crf.candidates[0], "exact", MS_CRF.crf.iterations)
    expected = np.array(MS.data.classes)[refined.argmax(0)]
    assert np.mean(found(image) == expected) > 0.99 > np.mean(plain(image) == expected)


# --- faults --------------------------------------------------------------------------------------


def test_outputs_that_would_replace_something(pictures, smoke, tmp_path, caught):
    folder, out, grey = tmp_path / "pictures", tmp_path / "out", pictures["grey"]
    out.mkdir()
    twin, overlay = shutil.copy(grey, tmp_path / "grey.png"), shutil.copy(grey, tmp_path / "grey_overlay.png")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for given, place, named in (
        ([*pictures.values(), twin], out, "two outputs would be called grey"),
        ([pictures["large"], grey], folder, f"--out {folder} would replace {grey}"),
        ([grey], folder / ".." / "pictures", "would replace"),
        ([grey, overlay], out, "grey_overlay"),  # the overlay of the one and the class ids of the other
    ):
        lines = prediction.predict(given, Stripes(smoke.runs[0]), place)
        refused(lambda lines=lines: list(lines), caught, named)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90), dtype=np.uint8))
HUGE = b"BM" + bytes(8) + b"\x36\4\0\0\x28\0\0\0" + b"\x60\xea\0\0" * 2 + b"\1\0\x08" + bytes(2000)  # 60,000 × 60,000


@pytest.mark.parametrize("content", [b"", b"text", "jpeg", "png", "gif", b"P6 4x4 255 ", HUGE])
def test_a_damaged_picture_is_named_before_any_work(content, pictures, smoke, tmp_path, call):
    if isinstance(content, str):  # half a file
        NOISE.save(tmp_path / "damaged", content)
        content = (tmp_path / "damaged").read_bytes()[:1500]
    (tmp_path / "damaged").write_bytes(content)
    where = ["--run", run_key(smoke.runs[0]), "--runs", smoke.out, "--out", tmp_path / "out"]
    for bad in (tmp_path / "missing.png", tmp_path, tmp_path / "damaged"):
        is_one_line(call("predict", pictures["grey"], bad, *where), f"gcnlab: {bad} ")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("key", ["0123456789ab", "gcn-k15", "", "*", "x**", "[", "../smoke/runs/gcn-k15-s0"])
def test_a_run_that_is_not_there(key, pictures, smoke, tmp_path, call):
    arguments = ["predict", pictures["grey"], "--run", key, "--out", tmp_path, "--runs"]
    is_one_line(call(*arguments, smoke.out), f"--run {key}: no such run below {smoke.out}", "4, such as conv1x1-s0")
    is_one_line(call(*arguments, tmp_path), "train one first")


def test_a_name_of_two_runs(smoke, tmp_path, caught):
    out, run = shutil.copytree(smoke.out, tmp_path / "runs"), smoke.runs[2]
    twin = record(run, out) | {"key": "0123456789ab"}
    results.write_record(twin, out)
    refused(lambda: find_record(run.name, out), caught, twin["key"], run_key(run), "by its key")
    assert find_record(twin["key"], out) == twin and record(run, out)["key"] == run_key(run)


def test_a_classifier_does_not_predict(smoke, pictures, tmp_path, call):
    arguments = ["--run", smoke.runs[0].weights.name, "--runs", smoke.out, "--out", tmp_path]
    for command in (["predict", pictures["grey"]], ["submit"], ["submit", "--check"]):
        is_one_line(call(*command, *arguments), "pretraining-small-s0 is a classifier")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"half a file")])
def test_weights_that_are_missing_or_damaged_are_named(damage, smoke, tmp_path, caught):
    out = shutil.copytree(smoke.out, tmp_path / "runs")
    path = artefact(smoke.runs[0], out)
    damage(path)
    refused(lambda: predictor(smoke.runs[0], out), caught, path, "train")


# --- submissions ---------------------------------------------------------------------------------


def handed_in(run, out):
    """A submission, and what ``check_submission`` needs to judge it."""
    archive = prediction.submit(Stripes(run), out, None)
    images, classes = prediction.test_images(run, None), len(run.data.source.classes)
    return archive, (out / "submission-stripes", images, run is STAGE_2, classes)


def test_vocs_files_are_where_its_server_looks_and_hold_the_predictions(smoke, tmp_path):
    run = smoke.runs[0]
    archive, judged = handed_in(run, tmp_path)
    images = run.data.source.test(run.data.root(None))
    assert check_submission(*judged) == len(images) == 4
    with tarfile.open(archive) as packed:
        names = sorted(member.name.removeprefix("./") for member in packed if member.isfile())
    assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/2012_00000{i}.png" for i in range(4)]
    for name, image in zip(names, images, strict=True):
        png = opened(tmp_path / "submission-stripes" / name)
        assert png.mode == "P" and np.array_equal(np.array(png), Stripes(run)(read_image(image)))


def test_the_street_files_hold_official_label_ids(tmp_path):
    archive, judged = handed_in(STAGE_2, tmp_path)
    assert check_submission(*judged) == 2
    with zipfile.ZipFile(archive) as packed:
        names = sorted(packed.namelist())
    assert names == [f"berlin_00000{i}_000019_labelIds.png" for i in range(2)]
    for name, image in zip(names, judged[1], strict=True):
        png = opened(tmp_path / "submission-stripes" / name)
        expected = np.array(LABEL_IDS)[Stripes(STAGE_2)(read_image(image))]
        assert png.mode == "L" and np.array_equal(np.array(png), expected) and np.unique(png).tolist() == LABEL_IDS


def fill(value, shape=(64, 64)):
    return lambda file: palette_png(np.full(shape, value, np.uint8), file)


def plain(value, shape):
    return lambda file: Image.fromarray(np.full(shape, value, np.uint8)).save(file)


WIDE = (64, 128)


@pytest.mark.parametrize(("run", "fault", "named"), [
    ("voc", lambda file: file.unlink(), "lacks 1 files, first "),
    ("voc", lambda file: shutil.copy(file, file.with_name("more.png")), "no use for 1 files"),
    ("voc", fill(1, (64, 63)), "63×64 of mode P"),
    ("voc", lambda file: Image.new("RGB", (64, 64)).save(file), "mode RGB"),
    ("voc", fill(255), "value 255"),
    ("voc", fill(8), "value 8"),
    ("voc", lambda file: file.write_bytes(file.read_bytes()[:200]), "cannot be read"),
    ("voc", lambda file: Image.new("P", (64, 64)).save(file, "gif"), "PNG"),
    ("voc", lambda file: Image.new("L", (64, 64)).save(file), "with VOC's palette"),
    ("voc", lambda file: Image.new("P", (64, 64)).save(file), "with VOC's palette"),
    ("voc", lambda file: file.write_bytes(file.read_bytes()[:-14] + b"....." + file.read_bytes()[-9:]), "submit again"),
    ("street", plain(0, WIDE), "value 0"),  # train id of road
    ("street", plain(255, WIDE), "value 255"),
    ("street", plain(7, WIDE[::-1]), "64×128 of mode L"),
    ("street", fill(7, WIDE), "of mode P"),
    ("street", lambda file: file.rename(file.with_name("berlin.png")), "lacks 1 files"),
])  # fmt: skip
def test_what_a_server_would_refuse(run, fault, named, smoke, tmp_path, caught):
    _, judged = handed_in(smoke.runs[0] if run == "voc" else STAGE_2, tmp_path)
    fault(sorted(judged[0].rglob("*.png"))[0])
    refused(lambda: check_submission(*judged), caught, named, judged[0])


def test_a_damaged_test_image_is_not_blamed_on_its_prediction(tmp_path, caught):
    _, (folder, images, *rest) = handed_in(STAGE_2, tmp_path)
    broken = tmp_path / images[0].name
    broken.write_bytes(images[0].read_bytes()[:300])
    refused(lambda: check_submission(folder, [broken, *images[1:]], *rest), caught, broken, "copy the file again")


def test_submitting_from_the_command_line(smoke, tmp_path, call, caught):
    key = run_key(smoke.runs[2])
    arguments = ["submit", "--run", key, "--runs", smoke.out, "--out", tmp_path]
    folder = tmp_path / f"submission-{key}"
    code, printed, errors = call(*arguments)
    assert code == 0 and errors == "" and printed == f"checked, ready to upload: {folder}.tar.gz\n"
    code, printed, _ = call(*arguments, "--check")
    assert code == 0 and printed == f"{folder}: 4 predictions, as the server wants them\n"
    next(folder.rglob("*.png")).unlink()
    is_one_line(call(*arguments, "--check"), "lacks 1 files")
    no_server = replace(smoke.runs[2], data=DataSpec("camvid", side=480, height=360))
    refused(lambda: prediction.test_images(no_server, tmp_path), caught, "camvid", "no test server")


def test_an_interrupted_submission_goes_on(smoke, tmp_path):
    class Interrupted(Stripes):
        left = 2

        def __call__(self, image):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().__call__(image)

    class Counting(Stripes):
        calls = 0

        def __call__(self, image):
            self.calls += 1
            return super().__call__(image)

    run = smoke.runs[0]
    with pytest.raises(KeyboardInterrupt):
        prediction.submit(Interrupted(run), tmp_path, None)
    assert len(list((tmp_path / "submission-stripes").rglob("*.png"))) == 2
    rest = Counting(run)
    prediction.submit(rest, tmp_path, None)
    images = prediction.test_images(run, None)
    assert rest.calls == 2 and check_submission(tmp_path / "submission-stripes", images, False, 8) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["submission-stripes", "submission-stripes.tar.gz"]


# --- staged runs ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_stage_starts_where_the_former_ended(staged, tmp_path):
    assert staged.failures == []
    chain = [STAGE_1.weights, STAGE_1, STAGE_2, MS, MS_CRF]
    assert [record(run, staged.out)["weights"] for run in chain] == [None, *map(run_key, chain[:-1])]
    former = torch.load(artefact(STAGE_1, staged.out), weights_only=True)
    start = build_model(STAGE_2, artefact(STAGE_1, staged.out)).state_dict()
    assert start.keys() == former.keys() and all(torch.equal(start[name], former[name]) for name in former)
    out = shutil.copytree(staged.out, tmp_path / "out")
    still = replace(STAGE_2, schedule=Schedule(1, 2, lr=0.0, weight_decay=0.0))
    assert runner.run_all([still], out, log=lambda _: None) == []
    after = torch.load(artefact(still, out), weights_only=True)
    learned = [name for name, _ in build_model(still).named_parameters()]
    assert all(torch.equal(after[name], former[name]) for name in learned), "what is not trained stays"


@pytest.mark.slow
def test_multi_scale_leaves_probabilities_for_a_crf(staged):
    folder = artefact(MS, staged.out)
    numbers = {split: sorted(int(path.stem) for path in (folder / split).iterdir()) for split in ("val", "train")}
    assert numbers == {"val": [0, 1, 2, 3], "train": [0, 5, 11]}, "all to be scored, and the tuning images"
    confusion = ConfusionMatrix(9)
    for number in numbers["val"]:
        scores = np.load(folder / "val" / f"{number}.npy")
        assert scores.shape == (9, 64, 128) and scores.dtype == np.float16
        assert scores.sum(0, dtype=float) == pytest.approx(np.ones((64, 128)), abs=0.01)
        confusion.update(scores.argmax(0), data.load(MS.data, "val")[number][1])
    assert confusion.miou() == record(MS, staged.out)["metrics"]["miou"]


@pytest.mark.slow
def test_a_crf_runs_from_what_was_saved_and_says_what_it_chose(staged):
    assert staged.failures == [] and "1 runs: 0 complete, 1 to train" in staged.log, "without weights, see the fixture"
    said = record(MS_CRF, staged.out)
    assert said["crf"]["backend"] == "exact" and said["crf"]["training_miou"] == [], "one candidate needs no choice"
    assert Pairwise(**said["crf"]["chosen"]) == MS_CRF.crf.candidates[0]
    assert said["metrics"]["miou"] != record(MS, staged.out)["metrics"]["miou"]
    assert artefact(MS_CRF, staged.out) is None and runner.plan([MS_CRF], staged.out) == []


@pytest.mark.slow
def test_a_changed_crf_neither_trains_nor_infers_and_takes_the_better_kernels(staged, tmp_path, monkeypatch):
    out = shutil.copytree(staged.out, tmp_path / "out", ignore=shutil.ignore_patterns("weights"))
    bad, idle = Pairwise(bilateral_xy=1), Pairwise(bilateral_xy=2)
    changed = replace(MS_CRF, crf=Crf("exact", (bad, idle, bad), 1))
    assert runner.plan([changed], out) == [changed]
    monkeypatch.setattr(experiment, "TUNING_IMAGES", 3)
    monkeypatch.setattr(experiment, "dense_crf", lambda scores, _, kernels, *__: scores if kernels == idle else -scores)
    assert runner.run_all([changed], out, log=lambda _: None) == []
    said = record(changed, out)
    assert Pairwise(**said["crf"]["chosen"]) == idle and np.argmax(said["crf"]["training_miou"]) == 1
    assert said["metrics"] == record(MS, out)["metrics"], "a CRF that changes nothing changes no score"


@pytest.mark.slow
@pytest.mark.parametrize("split", ["val", "train"])
def test_an_interrupted_evaluation_leaves_nothing(split, staged, tmp_path, monkeypatch):
    out = shutil.copytree(staged.out, tmp_path / "out")
    shutil.rmtree(artefact(MS, out))
    before = sorted(out.rglob("*"))
    answers = [torch.full((4, 9, 64, 128), 1 / 9)] * (split == "train")

    def interrupted(*_):
        if not answers:
            raise KeyboardInterrupt
        return answers.pop()

    monkeypatch.setattr(experiment, "probabilities", interrupted)
    with pytest.raises(KeyboardInterrupt):
        experiment.execute(MS, out, log=lambda _: None)
    assert sorted(out.rglob("*")) == before and not experiment.is_complete(MS, out, with_artefact=True)


@pytest.mark.slow
def test_a_missing_crf_backend_costs_no_other_run(staged, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crf, "find_spec", lambda _: None)
    run, out, log = replace(MS_CRF, crf=Crf("pydensecrf2")), shutil.copytree(staged.out, tmp_path / "out"), []
    (failure,) = runner.run_all([run, replace(STAGE_1, seed=1)], out, log=log.append)
    assert run.name in failure and "pydensecrf2" in failure and "-m pip install" in failure
    assert len(failure.splitlines()) == 1 and runner.is_complete(replace(STAGE_1, seed=1), out)
    assert log[1].startswith(f"{run.name} will fail, the others not: "), "said before the work"
    session = Session("smoke", out=out)
    session._train([run])  # as a notebook does: its table then says that it was not run
    assert f"{run.name} is left out: " in capsys.readouterr().out
