"""A finished run on a benchmark's test images: what its server takes, and what it would refuse."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from made import SMOKE, Stripes
from PIL import Image

from gcnlab.analysis.tables import table_configs
from gcnlab.data import DataSpec
from gcnlab.data.palette import PALETTE
from gcnlab.data.readers import read_image
from gcnlab.errors import UserError
from gcnlab.experiments.submission import Submission

RUNS = {
    kind: table_configs([table], SMOKE, [0])[0] for kind, table in (("voc", "5"), ("street", "9"))
}
LABEL_IDS = [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]  # cityscapesScripts


def submission(kind, out):
    return Submission(RUNS[kind], "stripes", out)


def pixels(path):
    with Image.open(path) as image:
        return image.mode, np.array(image)


@pytest.mark.parametrize(("kind", "pattern", "mode", "ids"), [
    ("voc", "results/VOC2012/Segmentation/comp6_test_cls/2012_00000{}.png", "P", list(range(8))),
    ("street", "berlin_00000{}_000019_labelIds.png", "L", LABEL_IDS),
])  # fmt: skip
def test_files_lie_where_the_server_looks_and_hold_its_ids(kind, pattern, mode, ids, tmp_path):
    job, predictor = submission(kind, tmp_path), Stripes(RUNS[kind])
    archive, files = job.submit(predictor), job.files()
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    members = [path for path in (tmp_path / "unpacked").rglob("*") if path.is_file()]
    names = sorted(path.relative_to(tmp_path / "unpacked").as_posix() for path in members)
    assert names == list(files) == [pattern.format(i) for i in range(len(files))]
    assert job.check() == len(files) == predictor.calls
    for name, image in files.items():
        assert pixels(job.folder / name)[0] == mode
        expected = np.array(ids)[Stripes(RUNS[kind])(read_image(image))]
        assert np.array_equal(pixels(job.folder / name)[1], expected)


def fill(value, shape=(64, 64), palette=PALETTE):
    image = Image.fromarray(np.full(shape, value, np.uint8))
    if palette:
        image.putpalette(palette)
    return image.save


WIDE = (64, 128)


@pytest.mark.parametrize(("kind", "fault", "words"), [
    ("voc", lambda file: file.unlink(), "lacks 1 files, first "),
    ("voc", lambda file: shutil.copy(file, file.with_name("more.png")), "no use for 1 files"),
    ("voc", fill(1, (64, 63)), "63×64 of mode P"),
    ("voc", lambda file: Image.new("RGB", (64, 64)).save(file), "mode RGB"),
    ("voc", fill(255), "value 255"),
    ("voc", fill(8), "value 8"),
    ("voc", lambda file: file.write_bytes(file.read_bytes()[:200]), "cannot be read"),
    ("voc", lambda file: Image.new("P", (64, 64)).save(file, "gif"), "expects a PNG"),
    ("voc", lambda file: Image.new("L", (64, 64)).save(file), "with VOC's palette"),
    ("voc", lambda f: f.write_bytes(f.read_bytes().replace(b"IDAT", b"....")), "submit again"),
    ("street", fill(0, WIDE, False), "value 0"),  # train id of road
    ("street", fill(255, WIDE, False), "value 255"),
    ("street", fill(7, WIDE[::-1], False), "64×128 of mode L"),
    ("street", fill(7, WIDE), "of mode P"),
    ("street", lambda file: file.rename(file.with_name("berlin.png")), "lacks 1 files"),
])  # fmt: skip
def test_what_a_server_would_refuse(kind, fault, words, tmp_path, caught):
    job = submission(kind, tmp_path)
    job.submit(Stripes(RUNS[kind]))
    fault(sorted(job.folder.rglob("*.png"))[0])
    with pytest.raises(UserError) as info:
        job.check()
    assert words in caught(info) and str(job.folder) in caught(info)


def test_a_damaged_test_image_is_not_blamed_on_its_prediction(tmp_path, caught, monkeypatch):
    job = submission("street", tmp_path)
    job.submit(Stripes(RUNS["street"]))
    (name, image), *others = job.files().items()
    broken = tmp_path / image.name
    broken.write_bytes(image.read_bytes()[:300])
    monkeypatch.setattr(Submission, "files", lambda _: {name: broken, **dict(others)})
    with pytest.raises(UserError) as info:
        job.check()
    assert str(broken) in caught(info) and "copy the file again" in caught(info)


def test_data_without_a_server(tmp_path, caught):
    no_server = replace(RUNS["voc"], data=DataSpec("camvid", side=480, height=360))
    with pytest.raises(UserError) as info:
        Submission(no_server, "key", tmp_path).files()
    assert "'camvid' has no test server" in caught(info)


def test_an_interrupted_submission_goes_on(tmp_path):
    job, rest = submission("voc", tmp_path), Stripes(RUNS["voc"])
    with pytest.raises(KeyboardInterrupt):
        job.submit(Stripes(RUNS["voc"], last=2))
    assert len(list(job.folder.rglob("*.png"))) == 2
    job.submit(rest)
    assert rest.calls == len(job.files()) - 2 and job.check() == len(job.files())
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["submission-stripes", "submission-stripes.tar.gz"]


def test_submitting_from_the_command_line(smoke, tmp_path, call):
    key = smoke.store.key(smoke.runs[2])
    arguments = ("submit", "--run", key, "--runs", smoke.out, "--out", tmp_path)
    folder = tmp_path / f"submission-{key}"
    assert call(*arguments) == (0, f"checked, ready to upload: {folder}.tar.gz\n", "")
    code, printed, _ = call(*arguments, "--check")
    assert code == 0 and printed == f"{folder}: 4 predictions, as the server wants them\n"
    next(folder.rglob("*.png")).unlink()
    code, printed, errors = call(*arguments, "--check")
    assert (code, printed) == (2, "") and "lacks 1 files" in errors
