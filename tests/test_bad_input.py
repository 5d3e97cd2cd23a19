"""Bad input as a table: damage, command, exit code, and the words of the one line that it gets.

Every case runs in a folder with ``data`` (all official layouts, tiny), ``out`` (the finished smoke
study), ``pics``, and what the case damages. Whatever is wrong is told in one line before any work:
no file is changed, and no code from data is executed.
"""

import json
import os
import pickle
import re
import shlex
import shutil

import numpy as np
import pytest
import scipy.io
import torch
from made_data import CAT, HEIGHT, PERSON, WIDTH, box, forget
from PIL import Image
from pycocotools import mask

from gcnlab.cli import parser
from gcnlab.experiments import scheduler
from gcnlab.experiments.config import from_json
from gcnlab.experiments.store import key_of, weights_digest
from gcnlab.models import build_backbone
from gcnlab.report import notebooks, page

# --- what is done to a file ----------------------------------------------------------------------


def write(content):
    content = content if isinstance(content, bytes) else content.encode()
    return lambda path: path.write_bytes(content)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def unlink(path):
    path.unlink()


def empty(path):
    for file in path.rglob("*.*"):
        file.unlink()


def fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def edit(old, new, count=-1):
    def change(path):
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, count), encoding="utf-8")

    return change


def picture(mode, size=(64, 64), value=0):
    return lambda path: Image.new(mode, size, value).save(path)


def headers(side):
    """A BMP that says it is ``side`` × ``side``, with hardly any pixel in it."""
    sides = side.to_bytes(4, "little") * 2
    return b"BM" + bytes(8) + b"\x36\4\0\0\x28\0\0\0" + sides + b"\1\0\x08" + bytes(2000)


def mat(array, key="GTcls"):
    return lambda path: scipy.io.savemat(path, {key: {"Segmentation": array}})


def filled(value, dtype=np.uint8, height=64):
    return np.full((height, 64), value, dtype)


def both(name):
    """Copy an image of train to val of a data set of folders."""
    return lambda path: shutil.copy(next(path.glob("train/*/*.JPEG")), path / f"val/n01/{name}")


class Malice:
    """Its pickle makes the folder ``executed`` where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def evil(path):
    torch.save({"step": Malice()}, path)


def evil_pickle(path):
    path.write_bytes(pickle.dumps(Malice()))


def started(**changes):
    """Starting weights of profile photos, a few changed: name → array, or None to leave it out."""

    def save(path):
        state = {n: t.numpy() for n, t in build_backbone("squeezenet1_1").state_dict().items()}
        state |= {n.replace("_", "."): array for n, array in changes.items()}
        path.parent.mkdir()
        np.savez(path, **{n: array for n, array in state.items() if array is not None})

    return save


def changed(*names, to):
    """A record whose entry ``names`` is ``to``; of a list the first."""

    def change(path):
        record = entry = json.loads(path.read_text(encoding="utf-8"))
        for name in names[:-1]:
            entry = entry[name]
        entry[names[-1]] = to
        path.write_text(json.dumps(record), encoding="utf-8")

    return change


def annotated(**changes):
    """COCO's annotation file with some entries replaced."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def listed(**changes):
    image = {"id": 7, "file_name": "train2017_1.jpg", "width": WIDTH, "height": HEIGHT}
    return [image | changes]


def drawn(segmentation):
    """The second object has this ``segmentation``."""
    objects = [{"image_id": 7, **box(CAT, 0, 0, 2, 2)}, {"image_id": 7, **box(PERSON, 3, 3, 2, 2)}]
    objects[1]["segmentation"] = segmentation
    return annotated(annotations=objects)


def runs(counts, size=(HEIGHT, WIDTH)):
    return drawn({"size": list(size), "counts": counts})


def packed(pixels):
    return mask.encode(np.asfortranarray(pixels, np.uint8))["counts"].decode()


def of_another_run(path):
    shutil.copy(next(path.parent.glob("conv1x1*")), path)


def not_finite(path):
    """Weights and a record that agree, and are no numbers."""
    state = torch.load(path, weights_only=True)
    state = {n: t * float("nan") if t.is_floating_point() else t for n, t in state.items()}
    torch.save(state, path)
    record = path.parents[1] / "runs" / f"{path.stem}.json"
    changed("weights", to=weights_digest(state))(record)


def forged(**changes):
    """A record whose config was edited and that has the key of the edited one."""

    def change(path):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["config"] |= changes
        record["key"] = key_of(from_json(record["config"]), record["identity"])
        path.unlink()
        path.with_name(f"{record['name']}-{record['key']}.json").write_text(json.dumps(record))

    return change


def begun_again(content):
    """A training that is resumed from a checkpoint of this content."""

    def damage(path):
        key = path.stem.rpartition("-")[2]
        (path.parents[1] / "weights" / f"{path.stem}.pt").unlink()
        path.unlink()
        content(path.parents[1] / "checkpoints" / f"{key}.pt")

    return damage


# --- the table -----------------------------------------------------------------------------------

DEEP = "[" * 100_000
VOC, SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
CITY, TINY = "cityscapes", "tiny-imagenet"
LISTS = f"{VOC}/ImageSets/Segmentation"
JPEG, PNG = f"{VOC}/JPEGImages/2007_000000.jpg", f"{VOC}/SegmentationClass/2007_000000.png"
MAT, SBD_JPEG = f"{SBD}/cls/2009_000004.mat", f"{SBD}/img/2009_000004.jpg"
FINE = f"{CITY}/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
COARSE = f"{CITY}/gtCoarse/train_extra/augsburg/augsburg_000000_000019_gtCoarse_labelIds.png"
COCO, COCO_JPEG = "coco/annotations/instances_train2017.json", "coco/train2017/train2017_1.jpg"
START = "weights/squeezenet1_1_imagenet.npz"
MISSING = "is missing: complete"

# command → words of its line; ' is an empty name
OPTIONS = [
    ("", "required: COMMAND"),
    ("train 1", "unknown command 'train'"),
    ("rnu 1", "unknown command 'rnu'; did you mean 'run'?"),
    ("run 12", "unknown table '12'; choose one of 1, 2, 3, 4, 5, 6, 7, 9, pretraining"),
    ("run pilt", "unknown table 'pilt'; did you mean 'pilot'?"),
    ("run pilot --profile quick", "profile quick has no pilot"),
    ("run own --profile smoke", "no claim besides the paper's is registered"),
    ("run 1 --profile tiny", "unknown profile 'tiny'; choose one of smoke, quick"),
    ("run 1 --profile ../smoke", "unknown profile '../smoke'"),
    ("run 1 --profile ''", "unknown profile ''"),
    ("status --profile synthetc", "did you mean 'synthetic'?"),
    ("notebooks --profile smoke --only 99", "--only: there is no notebook '99'"),
    ("notebooks --profile smoke --only ''", "--only: there is no notebook ''"),
    ("data check nothing", "unknown data set 'nothing'; choose one of voc"),
    ("data check camvd", "did you mean 'camvid'?"),
    ("data fetch voc", "'fetch'"),
    ("data scale camvid --data-root nowhere --out new", "unknown data set 'camvid'"),
    ("data scale voc --out new", "data scale needs --data-root DIR and --out DIR"),
    ("data scale voc --data-root data", "data scale needs --data-root DIR and --out DIR"),
    ("data scale voc --data-root nowhere --out new", "is missing: complete the data set"),
    ("data check shapes --out new", "data check writes nothing: leave --out away"),
    ("data check sbd", "holds benchmark_RELEASE/ (--data-root DIR)"),
    ("run 1 --profile photos", "(--data-root DIR)"),
    ("notebooks --profile photos", "(--data-root DIR)"),
    ("run --seeds 0", "--seeds: '0' is not a whole number from 1"),
    ("run --seeds -1", "--seeds"),
    ("run --seeds 1e3", "--seeds: '1e3'"),
    (f"run --seeds {10**10}", "--seeds: '10000000000' is not a whole number from 1 to 1000"),
    (f"status --seeds {10**10}", "--seeds"),
    (f"notebooks --seeds {'9' * 5000}", "--seeds"),
    ("run --jobs 1.5", "--jobs: '1.5'"),
    ("run --jobs 10000000000", "--jobs"),
    ("run --prof smoke", "--prof"),
    ("status --jobs 2", "--jobs"),
    ("run --cluster slurm", "'slurm' is not NAME=VALUE"),
    ("run --cluster timeout_min=", "'timeout_min=' is not NAME=VALUE"),
    ("run --out ''", "--out: an empty name is no folder"),
    ("predict pics/a.png --run x --out ''", "--out: an empty name is no folder"),
    ("submit --run x --out ' '", "--out: an empty name is no folder"),
    ("status --data-root ''", "--data-root: an empty name"),
    ("run --out ~nouser/x", "--out: '~nouser/x'"),
    ("status --data-root ~nouser", "--data-root: '~nouser'"),
    ("predict pics/a.png --run x --out ~nouser/x", "--out: '~nouser/x'"),
    ("run --out pics/a.png", "--out: 'pics/a.png' is a file: name a folder"),
    ("predict pics/a.png --run x --out pics/a.png", "is a file: name a folder"),
    ("predict pics/a.png --run x --runs pics/a.png --out new", "is a file: name a folder"),
    ("data check voc --data-root pics/a.png", "is a file: name a folder"),
    (f"run --out {'x' * 300}", "File name too long): name another folder"),
    ("run --out 'a\0b'", "embedded null"),
    ("run 5 --profile smoke --out pics/a.png/below", "Not a directory"),
    ("run 1 --profile smoke --out /proc/gcnlab", "/proc/gcnlab cannot be written"),
    ("predict pics/a.png --run gcn-k15-s0 --runs out --out /proc/gcnlab", "cannot be written"),
    ("status --data-root nowhere", "data root"),
    ("data check voc --data-root nowhere", "VOC2012 is missing: unpack VOC 2012 there"),
    ("GCNLAB_DEVICE=abacus run 5 --profile smoke --out new", "GCNLAB_DEVICE=abacus: this machine"),
    ("GCNLAB_DEVICE=mps:x run 5 --profile smoke --out new", "GCNLAB_DEVICE=mps:x: this machine"),
    ("GCNLAB_CACHE=pics/a.png run 5 --profile smoke --out new", "set GCNLAB_CACHE to another"),
    ("records check --profile smoke --out nowhere", "no records below"),
    ("records list", "'list'"),
    ("report --profile smoke --out nowhere", "no finished runs of profile smoke below"),
    ("predict --run x --out y", "IMAGE"),
    ("predict pics/a.png --out y", "--run"),
    ("submit --run x --out y --runs nowhere", "are none: train one first"),
]
# data set, file, damage, words
DATA = [
    ("voc", VOC, shutil.rmtree, "unpack VOC 2012 there, or correct the data root"),
    ("voc", f"{LISTS}/train.txt", unlink, "unpack VOC 2012 completely"),
    ("voc", f"{LISTS}/train.txt", fifo, "train.txt is no file"),
    ("voc", f"{LISTS}/val.txt", write(b"\xff\xfe"), "val.txt cannot be read as a list"),
    ("voc", f"{LISTS}/val.txt", write(""), "the val split has no images"),
    ("voc", f"{LISTS}/val.txt", write("2008_000000\n" * 2), "val.txt has 2008_000000 twice"),
    ("voc", f"{LISTS}/train.txt", edit("2007_000001", "2008_000001"), "in train.txt and val.txt"),
    ("voc", f"{LISTS}/train.txt", edit("2007_000001", "../x"), MISSING),
    ("voc", f"{SBD}/train.txt", unlink, "unpack SBD"),
    ("voc", f"{SBD}/val.txt", unlink, "unpack SBD"),
    ("sbd", f"{SBD}/val.txt", write("2009_000004\n" * 2), "val.txt has 2009_000004 twice"),
    ("voc", JPEG, half, "truncated"),
    ("voc", JPEG, write("<html>404</html>"), "cannot be read as an image"),
    ("voc", JPEG, unlink, MISSING),
    ("voc", JPEG, fifo, "2007_000000.jpg is no file"),
    ("voc", SBD_JPEG, half, "truncated"),
    ("voc", PNG, unlink, MISSING),
    ("voc", PNG, half, "cannot be read as a label map"),
    ("voc", PNG, picture("RGB"), "mode RGB"),
    ("voc", PNG, picture("I;16"), "mode I;16"),
    ("voc", PNG, picture("L", value=21), "values [21]"),
    ("voc", PNG, picture("L", value=254), "values [254]"),
    ("voc", PNG, picture("L", (64, 63)), "64×63"),
    ("voc", PNG, write(headers(40_000)), "scale it down"),
    ("voc", MAT, unlink, MISSING),
    ("voc", MAT, half, "cannot be read as an SBD label"),
    ("voc", MAT, write(""), "cannot be read as an SBD label"),
    ("voc", MAT, evil_pickle, "cannot be read as an SBD label"),
    ("voc", MAT, mat(filled(0), "other"), "cannot be read as an SBD label"),
    ("voc", MAT, mat(filled(33)), "values [33]"),
    ("voc", MAT, mat(filled(256, np.int16)), "values [256]"),
    ("voc", MAT, mat(filled(-1, np.int16)), "values [-1]"),
    ("voc", MAT, mat(filled(0, height=32)), "64×32"),
    ("cityscapes-coarse", CITY, shutil.rmtree, "is missing: unpack "),
    ("cityscapes-coarse", f"{CITY}/gtCoarse/train_extra", shutil.rmtree, "unpack gtCoarse.zip"),
    ("cityscapes", f"{CITY}/gtFine/val", shutil.rmtree, "unpack gtFine_trainvaltest.zip"),
    ("cityscapes-coarse", f"{CITY}/leftImg8bit/train_extra", shutil.rmtree, "bit_trainextra.zip"),
    ("cityscapes", f"{CITY}/leftImg8bit/val", empty, "has no */*_leftImg8bit.png"),
    ("cityscapes-coarse", COARSE, unlink, MISSING),
    ("cityscapes", FINE, picture("RGBA", (128, 64)), "is a colour picture"),
    ("cityscapes", FINE, picture("L", (64, 64)), "is 64×64 but aachen_0"),
    ("cityscapes", FINE, picture("L", (128, 64), 34), "values [34]"),
    ("camvid", "camvid/train", shutil.rmtree, "copy CamVid"),
    ("camvid", "camvid/testannot", shutil.rmtree, "copy CamVid"),
    ("camvid", "camvid/val", empty, "has no images"),
    ("camvid", "camvid/trainannot/train0.png", unlink, "train0 is in only one of"),
    ("camvid", "camvid/valannot/val0.png", unlink, "val0 is in only one of"),
    ("camvid", "camvid/test/test1.png", unlink, "test1 is in only one of"),
    ("camvid", "camvid/train/train0.jpg", picture("RGB", (24, 20)), "has train0 twice"),
    ("camvid", "camvid/trainannot/train0.png", picture("L", (24, 20), 12), "values [12]"),
    ("camvid", "camvid/train/train0.png", picture("RGB", (24, 21)), "train0.png is 24×21"),
    (TINY, f"{TINY}/val", shutil.rmtree, "expected tiny-imagenet/val/<class>/<image>"),
    (TINY, f"{TINY}/val/n02", shutil.rmtree, "the class 'n02' is in only one of"),
    (TINY, f"{TINY}/train/n02", shutil.rmtree, "has 2 class folders, not 3: expected"),
    (TINY, f"{TINY}/train/n01/n01_train0.JPEG", write("no image"), "cannot be read as an image"),
    (TINY, f"{TINY}/val", empty, "the val split has no images"),
    (TINY, f"{TINY}/val/val_annotations.txt", write("a\tn01\na\tn02\n"), "txt has a twice"),
    (TINY, f"{TINY}/val/val_annotations.txt", write("val0.JPEG\tn99\t0"), "'val0.JPEG n99' are"),
    (TINY, f"{TINY}/val/val_annotations.txt", write("n01"), "'n01' are not an image and a class"),
    (TINY, TINY, both("x.JPEG"), "1 images are in train and val, first n0"),
    ("sbd", f"{SBD}/val.txt", write("2009_000001\n"), "in train and val, first 2009_000001"),
    ("voc-alone", f"{LISTS}/val.txt", write("2007_000001\n"), "are in train and val, first 2007_0"),
    ("coco", COCO, half, "cannot be read as COCO annotations"),
    ("coco", COCO, write(b"\xff\xfe\x00PK"), "codec can't decode"),
    ("coco", COCO, write(DEEP), "recursion"),
    ("coco", COCO, write("[]"), "cannot be read as COCO"),
    ("coco", COCO, fifo, "json is no file"),
    ("coco", COCO, annotated(annotations=[{"id": 1}]), "'category_id'"),
    ("coco", COCO, annotated(annotations=[box(91, 0, 0, 1, 1)]), "91"),
    ("coco", COCO, annotated(annotations=None), "not iterable"),
    ("coco", COCO, annotated(images=[]), "7"),
    ("coco", COCO, annotated(images=listed() * 2), "id of images has 7 twice"),
    ("coco", COCO, annotated(images=[*listed(), *listed(id=8)]), "has train2017_1.jpg twice"),
    ("coco", COCO, annotated(categories=[{"id": 1, "name": n} for n in "ab"]), "has 1 twice"),
    ("coco", COCO, annotated(images=listed(height=-16)), "20×-16"),
    ("coco", COCO, annotated(images=listed(height=16.5)), "20×16.5"),
    ("coco", COCO, annotated(images=listed(width="20")), "jpg of 20×16 pixels"),
    ("coco", COCO, annotated(images=listed(width=40_000, height=40_000)), "is 40000×40000 but"),
    ("coco", COCO, edit('"area": 4', '"area": NaN'), "area nan"),
    ("coco", COCO, edit('"area": 4', '"area": -4'), "area -4"),
    ("coco", COCO, edit('"area": 4', f'"area": 1{"0" * 400}'), "too large"),
    ("coco", COCO, edit('"iscrowd": 0', '"iscrowd": "no"'), "iscrowd 'no'"),
    ("coco", COCO, unlink, "unpack COCO's annotations"),
    ("coco", "coco/train2017", shutil.rmtree, "train2017.zip"),
    ("coco", "coco", shutil.rmtree, "train2017.zip"),
    ("coco", COCO_JPEG, unlink, MISSING),
    ("coco", COCO_JPEG, picture("RGB", (9, 8)), "is 20×16 but train2017_1.jpg is 9×8"),
    ("coco", COCO, annotated(annotations=[{"image_id": 7, **box(2, 0, 0, 1, 1), "iscrowd": 1}]),
     "the train split has no images"),
    # what pycocotools refuses; then what it takes, and draws from memory that nobody wrote, or
    # crashes on
    *(("coco", COCO, drawn(broken), "train2017_1.jpg cannot be drawn") for broken in (
        None, [], [[]], [[1, 1, 9]], [[1, 1, 9, 1]], ["corners"], [[1, 1, 9, 1, 9, "x"]],
        {"counts": [100, 220]}, {"size": [HEIGHT, WIDTH]},
        [[1, 1, 9, 1, 9, 9, 1]], [[1, 1, 9, 1, 9, 9], [4]], [[1, 1, 9, 1, 9, 1e9]],
        [[1, 1, 9, 1, 9, float("nan")]],
    )),
    *(("coco", COCO, damage, "train2017_1.jpg cannot be drawn") for damage in (
        runs([100, 220], (WIDTH, HEIGHT)), runs([100, 221]), runs([-1, 321]), runs([100, 20]),
        runs([100.0, 220]), runs([100.5, 219.5]), runs("no run lengths~~"),
        runs(packed(np.eye(9, WIDTH))),
    )),
]  # fmt: skip
RECORD, WEIGHTS = "out/smoke/runs/gcn-k15-s0-*.json", "out/smoke/weights/gcn-k15-s0-*.pt"
REPORT, STATUS = "report --json --profile smoke --out out", "status --profile smoke --out out"
PREDICT, PICTURE = "predict {} pics/a.png --run gcn-k15-s0 --runs out --out new", "pics/bad"
PHOTOS = "run 5 --profile photos --data-root data --out new"
# command, file, damage, words
FILES = [
    *((REPORT, RECORD, damage, "is no readable record") for damage in (
        write(""), half, write("[]"), write("null"), write("3"), write(DEEP), write(b"\xff\xfe\0"),
        fifo, *(changed(name, to=value) for name, value in (
            ("format", 1), ("format", None), ("kind", "trial"), ("kind", None), ("kind", []),
            ("key", "0"), ("name", "other"), ("name", "../gcn-k15-s0"), ("config", None),
            ("config", []), ("metrics", None), ("history", None), ("history", [None]),
            ("counts", 3), ("images", []), ("images", {"train": "16", "val": 16}),
            ("identity", {}), ("identity", {"data": "0"}), ("evaluation_version", "1"),
            ("environment", {}), ("environment", None), ("environment", {"finished": 3}),
            ("weights", 3), ("diverged", []), ("kernel", "x"),
        )),
        changed("metrics", "miou", to="much"), changed("metrics", "miou", to=[1]),
        changed("metrics", "iou", to=3), changed("metrics", "iou", to={"background": "x"}),
        changed("counts", "confusion", to=3), changed("counts", "confusion", 0, to="1 x"),
        changed("counts", "confusion", 0, to=None),
        changed("counts", "per_image", 0, to="1 2 3"), changed("counts", "boundary", to=[1]),
        changed("counts", "boundary", "all", to=[1]), changed("history", 0, "loss", to="low"),
        changed("identity", "start", to=3), changed("environment", "seconds", to="long"),
    )),
    (STATUS, RECORD, changed("metrics", to=None), "is no readable record"),
    (REPORT, RECORD, changed("config", "seed", to="0"), "seed is '0'"),
    (REPORT, RECORD, changed("config", "data", "classes", to=[[1]]), "unhashable"),
    (REPORT, RECORD, changed("config", "start", to=3), "start is 3"),
    (REPORT, RECORD, changed("config", "colour", to="red"), "colour"),
    ("records check --profile smoke --out out", "out/smoke/manifest.json", write(DEEP),
     "manifest.json is no manifest"),
    ("records add --profile smoke --out out", "out/smoke/manifest.json", write("[]"),
     "manifest.json is no manifest"),
    ("records check --profile smoke --out out", "out/smoke/manifest.json", write('{"a": 1}'),
     "manifest.json is no manifest"),
    # predict: the run
    (PREDICT, WEIGHTS, unlink, "is missing: train"),
    (PREDICT, WEIGHTS, fifo, "is missing: train"),
    (PREDICT, WEIGHTS, write("half a file"), "is damaged"),
    (PREDICT, WEIGHTS, evil, "is damaged"),
    (PREDICT, WEIGHTS, evil_pickle, "is damaged"),
    (PREDICT, WEIGHTS, of_another_run, "is damaged"),
    (PREDICT, WEIGHTS, not_finite, "has values that are no numbers"),
    (PREDICT, RECORD, changed("config", "backbone", to="nothing"), "config is not that of its key"),
    (PREDICT, RECORD, changed("config", "k", to=7), "config is not that of its key"),
    (PREDICT, RECORD, changed("config", "data", "side", to=10**9), "not that of its key"),
    (PREDICT, RECORD, changed("config", "head", to=7), "head is 7"),
    (PREDICT, RECORD, changed("config", "data", "name", to="x"), "unknown data set 'x'"),
    (PREDICT, RECORD, changed("config", to={"kind": "training"}), "config is not one of this"),
    (PREDICT, RECORD, changed("name", to="/etc/x"), "is no readable record"),
    (PREDICT, RECORD, forged(backbone="nothing"), "nothing"),
    (PREDICT, RECORD, forged(k=-3), "odd"),
    *((PREDICT.replace("gcn-k15-s0", key), RECORD, lambda _: None, f"no run '{key}' below")
      for key in ("0123456789ab", "gcn-k15", "*", "../smoke/runs/gcn-k15-s0")),
    (PREDICT.replace("gcn-k15-s0", "pretraining-bottleneck27-s0"), RECORD, lambda _: None,
     "is a classifier: name a segmentation run"),
    ("submit --run pretraining-bottleneck27-s0 --runs out --out new", RECORD, lambda _: None,
     "is a classifier: name a segmentation run"),
    # predict: the picture
    *((PREDICT, PICTURE, damage, words) for damage, words in (
        (lambda _: None, "pics/bad is missing"), (os.mkdir, "pics/bad is no file"),
        (fifo, "pics/bad is no file"), (write(""), "cannot be read as an image"),
        (write("text"), "cannot be read as an image"), (write("P6 4x4 255 "), "as an image"),
        *((lambda path, kind=kind: NOISE.save(path, kind) or half(path), "bad cannot be read")
          for kind in ("jpeg", "png", "gif")),
        (lambda path: NOISE.save(path, "gif", save_all=True, append_images=[NOISE.rotate(9)] * 2),
         "pictures: save one of them"),
        (lambda path: NOISE.save(path, "tiff", save_all=True, append_images=[NOISE]), "2 pictures"),
        (lambda path: Image.new("I;16", (4, 4)).save(path, "png"), "more than 8 bits a channel"),
        (lambda path: Image.new("F", (4, 4)).save(path, "tiff"), "more than 8 bits a channel"),
        (write(headers(6_000)), "bad has 36 megapixels: scale it down to at most 34"),
        (write(headers(11_000)), "bad has 121 megapixels: scale it down"),
        (write(headers(60_000)), "scale it down"),
    )),
    # starting weights are looked at before anything is trained
    *((PHOTOS, f"data/{START}", damage, words) for damage, words in (
        (lambda _: None, f"{START} is missing"),
        (lambda path: started()(path) or half(path), "cannot be read (BadZipFile: File"),
        (lambda path: path.parent.mkdir() or evil_pickle(path), "cannot be read (ValueError: "),
        (started(features_0_weight=None), "lacks 1 tensors, first 'features.0.weight'"),
        (started(more=np.zeros(3)), "has unknown 1 tensors, first 'more'"),
        (started(features_0_bias=np.zeros(3, "f4")), "wrong shape for 1 tensors"),
        (started(features_0_bias=np.full(64, np.nan, "f4")), "or nan in 1 tensors"),
        (started(features_0_bias=np.array(["x"] * 64)), "cannot be read (TypeError: "),
        (started(features_0_bias=np.array([Malice()])), "cannot be read (ValueError: "),
    )),
    # a checkpoint belongs to one run: the others go on
    *(("run 5 --profile smoke --out out", "out/smoke/runs/conv1x1-s0-*.json", begun_again(damage),
       "cannot be read", 1) for damage in (write(""), write("text"), evil, evil_pickle)),
]  # fmt: skip
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90), dtype=np.uint8))
CASES = [
    *((command, None, None, words) for command, words in OPTIONS),
    *((f"data check {name} --data-root data", f"data/{path}", damage, words)
      for name, path, damage, words in DATA),
    *FILES,
]  # fmt: skip


@pytest.fixture
def world(layout, smoke, root, tmp_path, monkeypatch):
    """``world(command, path)`` → the file to damage; the current folder has what both speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parser, "LOCAL", tmp_path / "local")
    (tmp_path / "pics").mkdir()
    NOISE.convert("RGB").save(tmp_path / "pics/a.png")

    def prepare(command, path):
        if "out " in f"{command} " and re.search(r"--(out|runs) out\b", command):
            shutil.copytree(smoke.out, tmp_path / "out")
        return path and next(tmp_path.glob(path), tmp_path / path)

    return prepare


def files(folder):
    """What is there, as far as a reader could tell."""
    paths = [path for path in folder.rglob("*") if not path.is_dir() or path.name == "executed"]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0][:60]}-{case[3][:30]}")
def test_bad_input_is_one_line_before_any_work(case, world, call, tmp_path, monkeypatch):
    command, path, damage, words, *code = case
    path = world(command, path)
    if damage is not None:
        damage(path)
    if not code:
        for module, name in ((scheduler, "execute"), (notebooks, "execute"), (page, "write")):
            monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("work"))
    before = files(tmp_path)
    arguments = shlex.split(command.replace("{}", PICTURE if path and path.name == "bad" else ""))
    while arguments and re.match(r"[A-Z_]+=", arguments[0]):
        name, _, value = arguments.pop(0).partition("=")
        monkeypatch.setenv(name, value)
        forget()
    given, out, err = call(*arguments)
    assert given == (code[0] if code else 2), (out, err)
    assert len(err.splitlines()) == 1 and words in err and "Traceback" not in out, err
    assert re.match("gcnlab: |failed: ", err)
    assert out == "" or arguments[0] in ("run", "status") or "are in train and val" in err, out
    assert not (tmp_path / "executed").exists(), "code from data"
    if not code:
        assert files(tmp_path) == before
    forget()
