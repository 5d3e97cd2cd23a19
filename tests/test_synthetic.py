"""Synthetic data: official layouts, the same bytes every time, classes that differ in lobes."""

import shutil
from pathlib import Path

import numpy as np
import PIL
import pytest
from made_data import forget
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage, stats
from torchvision.datasets import ImageFolder, SBDataset, VOCSegmentation

from gcnlab import data
from gcnlab.data import cityscapes, coco, voc
from gcnlab.data.palette import PALETTE
from gcnlab.data.readers import read_image, read_label
from gcnlab.data.synthetic import cache
from gcnlab.data.synthetic import cityscapes as streets
from gcnlab.data.synthetic import coco as synthetic_coco
from gcnlab.data.synthetic import voc as shapes
from gcnlab.data.synthetic.drawing import CLASSES, LOBES, SIDE, draw
from gcnlab.data.synthetic.sources import SYNTHETIC
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError
from gcnlab.experiments import records
from gcnlab.experiments.config import from_json

SMALL = shapes.Sizes(train=3, extra=4, val=2, single_train=5, single_val=2)
SETS = [(shapes, SMALL), (synthetic_coco, synthetic_coco.Sizes(5, 2)), (streets, streets.TINY)]


# --- layouts, as torchvision reads them ---


def test_torchvision_reads_our_layouts(layout):
    for split in ("train", "val"):
        theirs = VOCSegmentation(layout, year="2012", image_set=split, download=False)
        for (image, label), sample in zip(theirs, voc.voc_samples(layout, split), strict=True):
            assert np.array_equal(image, read_image(sample.image))
            assert label.getpalette() == PALETTE, "VOC's colours"
            assert np.array_equal(label, read_label(sample.label, len(CLASSES)))
    ours, seen = {sample.name: sample for sample in voc.sbd_samples(layout)}, set()
    folder = layout / "benchmark_RELEASE/dataset"
    for split in ("train", "val"):
        theirs = SBDataset(folder, image_set=split, mode="segmentation", download=False)
        for path, (image, label) in zip(theirs.images, theirs, strict=True):
            sample = ours[Path(path).stem]
            assert np.array_equal(image, read_image(sample.image))
            assert np.array_equal(label, read_label(sample.label, len(CLASSES)))
            seen.add(sample.name)
    assert seen == set(ours)
    singles = ImageFolder(layout / "imagenet/train")
    assert len(singles) == 30
    assert singles.classes == [f"n{c:08d}" for c in range(1, len(CLASSES))]


def objects_drawn(split, index):
    """The classes of the objects of an image, drawn again."""
    rng = np.random.default_rng([shapes.VERSION, shapes.STREAMS[split], index])
    return [class_id for class_id, _ in draw(rng).objects]


@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_and_instances_are_those_of_the_objects(layout, split):
    for index, sample in enumerate(voc.voc_samples(layout, split)):
        label = read_label(sample.label, len(CLASSES))
        instances = np.array(
            Image.open(sample.label.parents[1] / "SegmentationObject" / sample.label.name)
        )
        for value in (0, VOID):
            assert np.array_equal(label == value, instances == value)
        assert 0 < (label == VOID).mean() < 0.2
        numbers = np.setdiff1d(instances, [0, VOID])
        classes = [np.unique(label[instances == number]).tolist() for number in numbers]
        assert classes == [[class_id] for class_id in objects_drawn(split, index)]


def test_labels_of_sbd_are_those_of_its_objects(layout):
    own = [sample for sample in voc.sbd_samples(layout) if sample.name.startswith("2009")]
    assert own
    for sample in own:
        present = set(np.unique(read_label(sample.label, len(CLASSES))).tolist()) - {0}
        assert present == set(objects_drawn("sbd", int(sample.name.partition("_")[2])))


# --- the same bytes every time ---


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("drawing", "sizes"), SETS)
def test_neither_time_nor_processes_change_a_byte(drawing, sizes, tmp_path, monkeypatch):
    drawing.write(tmp_path / "one", sizes)
    np.random.seed(1)
    monkeypatch.setattr("time.asctime", lambda *_: "long ago")
    monkeypatch.setattr(cache, "WORTH_A_POOL", 1)
    monkeypatch.setattr(cache, "cores", lambda: 2)
    drawing.write(tmp_path / "two", sizes)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two") and len(one) > sum(sizes)


def test_the_default_is_all_cores_for_many_images():
    items = range(cache.WORTH_A_POOL)
    assert cache.draw_all(hex, items) == [hex(item) for item in items]


def test_a_larger_data_set_begins_with_the_smaller_one_and_no_image_is_twice(tmp_path, layout):
    shapes.write(tmp_path / "small", SMALL)
    small, large = contents(tmp_path / "small"), contents(layout)
    images = [path for path in small if path.suffix in (".jpg", ".png", ".mat")]
    assert images and all(small[path] == large[path] for path in images)
    by_name = {path.stem: large[path] for path in large if path.suffix in (".jpg", ".JPEG")}
    assert len(set(by_name.values())) == len(by_name)


# --- the class hides in nothing but the lobes ---


@pytest.fixture(scope="module")
def singles():
    """Columns: class, diameter, area / diameter², brightness, distance from the centre."""
    rows = []
    for index in range(800):
        scene = draw(np.random.default_rng([123, index]), 1, (0.15, 0.6), side=48)
        (class_id, diameter), inside = scene.objects[0], scene.classes > 0
        away = np.hypot(*(np.argwhere(inside).mean(0) - 23.5))
        area = inside.sum() / diameter**2
        rows.append((class_id, diameter, area, scene.image[inside].mean(), away))
    return np.array(rows)


@pytest.mark.parametrize(("column", "name"), [(1, "diameter"), (3, "brightness"), (4, "place")])
def test_class_is_independent_of(singles, column, name):
    groups = [singles[singles[:, 0] == c, column] for c in range(1, len(CLASSES))]
    assert min(map(len, groups)) > 70, "classes are equally frequent"
    assert stats.kruskal(*groups).pvalue > 0.01, f"the {name} of an object tells its class"


def test_diameters_are_log_uniform_and_kept(singles):
    low, high = np.log(0.15 * 48), np.log(0.6 * 48)
    uniform = stats.uniform(low, high - low)
    assert stats.kstest(np.log(singles[:, 1]), uniform.cdf).pvalue > 0.01
    # r = R (1 + a cos nθ), R = d / 2 / (1 + a), has the area π R² (1 + a² / 2) / stretch
    a, stretch = np.meshgrid(np.linspace(0.25, 0.4, 9), np.linspace(1, 1.25, 9))
    mean = (np.pi / 4 / (1 + a) ** 2 * (1 + a * a / 2) / stretch).mean()
    for c in range(1, len(CLASSES)):
        assert singles[singles[:, 0] == c, 2].mean() == pytest.approx(mean, rel=0.05)


def test_outlines_are_void_and_equally_sharp_for_every_class():
    """Sharpness: the colour step across an outline over the step two pixels further out."""
    crossings, open_crossings = np.zeros((2, len(CLASSES)), int)
    steps = [[] for _ in CLASSES]
    for index in range(500):
        scene = draw(np.random.default_rng([9, index]), 1, (0.3, 0.9))
        class_id = scene.objects[0][0]
        for axis in (0, 1):
            arrays = (scene.classes, scene.band, scene.image.astype(float))
            label, band, colour = (np.moveaxis(array, axis, 0) for array in arrays)
            crossing = label[1:] != label[:-1]
            crossings[class_id] += crossing.sum()
            open_crossings[class_id] += (crossing & ~band[1:] & ~band[:-1]).sum()
            near = np.abs(colour[2:-1] - colour[1:-2]).sum(-1)
            far = np.abs(colour[3:] - colour[:-3]).sum(-1)
            clear = crossing[1:-1] & (far > 60)
            steps[class_id] += (near[clear] / far[clear]).tolist()
    assert (open_crossings[1:] / crossings[1:]).max() < 0.02, "figure and ground without void"
    assert np.ptp([np.mean(values) for values in steps[1:]]) < 0.06


@pytest.mark.parametrize("class_id", range(1, len(CLASSES)))
def test_the_class_is_the_number_of_lobes(class_id):
    strongest = []
    for index in range(400):
        scene = draw(np.random.default_rng([7, index]), 1, (0.8, 0.9), side=96)
        if scene.objects[0][0] != class_id:
            continue
        # undo the stretch by making the second moments equal, then look for the strongest frequency
        points = np.argwhere(scene.classes > 0)[:, ::-1].T + 0.5
        values, axes = np.linalg.eigh(np.cov(points))
        if LOBES[class_id - 1] == 2:  # two lobes are elongated by themselves
            values[:] = 1
        x, y = (axes / np.sqrt(values)).T @ (points - points.mean(1, keepdims=True))
        bins = ((np.arctan2(x, y) + np.pi) / (2 * np.pi) * 64).astype(int) % 64
        outline = np.array([np.hypot(x, y)[bins == b].max() for b in range(64)])
        strongest.append(np.abs(np.fft.rfft(outline))[2:12].argmax() + 2)
        if len(strongest) == 8:
            break
    assert len(strongest) == 8 and np.median(strongest) == LOBES[class_id - 1]


# --- the stand-ins for COCO and Cityscapes ---


def test_polygons_follow_the_drawn_objects_coarsely(tmp_path, monkeypatch):
    scenes = []
    keep = lambda *a, **k: scenes.append(draw(*a, **k)) or scenes[-1]  # noqa: E731
    monkeypatch.setattr(synthetic_coco, "draw", keep)
    synthetic_coco.write(tmp_path, synthetic_coco.Sizes(coco=60, test=0))
    theirs = COCO(tmp_path / "coco/annotations/instances_train2017.json")
    names = {c["id"]: c["name"] for c in theirs.loadCats(theirs.getCatIds())}
    assert tuple(names.values()) == CLASSES[1:]
    assert min(np.diff(list(names))) > 1, "gaps, as COCO's ids have"
    overlaps, samples = [], coco.samples(tmp_path, CLASSES)
    for index, (scene, sample) in enumerate(zip(scenes, samples, strict=True)):
        objects = theirs.loadAnns(theirs.getAnnIds(imgIds=index))
        assert [names[a["category_id"]] for a in objects] == [CLASSES[c] for c, _ in scene.objects]
        for number, annotation in enumerate(objects, 1):
            outline, inside = theirs.annToMask(annotation) > 0, scene.instances == number
            if annotation["iscrowd"]:
                assert np.array_equal(outline, inside), "run lengths are exact"
            else:
                overlaps.append((outline & inside).sum() / (outline | inside).sum())
        label = sample.read_label(len(CLASSES))
        assert read_image(sample.image).size == label.shape
        assert (label == scene.classes)[label != VOID].mean() > 0.8
    assert min(overlaps) > 0.5 and 0.75 < np.mean(overlaps) < 0.95
    crowds = theirs.loadAnns(theirs.getAnnIds(iscrowd=True))
    assert {a["image_id"] for a in crowds} <= {0, 50} != set()


def test_the_test_split_has_images_and_no_labels(tmp_path):
    synthetic_coco.write(tmp_path, synthetic_coco.Sizes(coco=1, test=3))
    images = voc.test_images(tmp_path)
    assert [read_image(path).size for path in images] == [(SIDE, SIDE)] * 3
    folder = tmp_path / "VOCdevkit/VOC2012"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = {f"JPEGImages/{path.name}" for path in images}
    assert files == {*names, "ImageSets/Segmentation/test.txt"}


def test_every_class_of_the_streets_occurs_and_no_other(tmp_path):
    streets.write(tmp_path, streets.TINY)
    for split, quality in (("train", "gtFine"), ("val", "gtFine"), ("train_extra", "gtCoarse")):
        samples = cityscapes.samples(tmp_path, split, quality)
        values = np.unique([sample.read_label(len(cityscapes.CLASSES)) for sample in samples])
        present = {cityscapes.CLASSES[v] for v in values if v != VOID}
        coarse = quality == "gtCoarse"
        assert present == set(streets.PRESENT) - ({"pole"} if coarse else set())
        assert (VOID in values) == coarse, "poles are all outline"
        assert {read_image(sample.image).size for sample in samples} == {streets.SIZE}


@pytest.mark.parametrize("seed", range(6))
def test_coarse_labels_are_the_fine_ones_away_from_every_outline(seed):
    _, label = streets.draw(np.random.default_rng(seed))
    coarse, block = streets.coarse(label), streets.BLOCK
    assert np.array_equal(coarse[coarse > 0], label[coarse > 0])
    assert 0.1 < (coarse == 0).mean() < 0.4
    outline = np.zeros(label.shape, bool)
    outline[1:] |= label[1:] != label[:-1]
    outline[:, 1:] |= label[:, 1:] != label[:, :-1]
    away = ndimage.distance_transform_cdt(~outline) > block
    assert (coarse[away] > 0).all(), "only the surroundings of outlines are unlabelled"
    for y, x in np.argwhere(coarse > 0)[::97] // block * block:
        assert len(np.unique(label[y : y + block, x : x + block])) == 1


# --- the cache ---


def test_written_once_in_a_folder_of_its_sizes(monkeypatch, tmp_path):
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path / "deep" / "cache"))
    folder = shapes.root(SMALL)
    assert folder.parent == tmp_path / "deep" / "cache" and contents(folder)
    monkeypatch.setattr(shapes, "write", lambda *_: pytest.fail("written again"))
    assert shapes.root(SMALL) == folder
    monkeypatch.setattr(shapes, "write", lambda folder, sizes: None)
    assert len({shapes.root(sizes) for sizes in (SMALL, shapes.TINY, shapes.FULL)}) == 3


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_generator_leaves_nothing(stop, monkeypatch, tmp_path):
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path))
    save, saved = shapes.save_jpeg, []

    def failing(array, path):
        if len(saved) == 4:
            raise stop
        saved.append(path)
        save(array, path)

    monkeypatch.setattr(shapes, "save_jpeg", failing)
    with pytest.raises((KeyboardInterrupt, UserError)):
        shapes.root(SMALL)
    assert saved and [p.suffix for p in tmp_path.iterdir()] == [".lock"], "an empty file"


def test_a_blocked_cache_is_a_user_error(monkeypatch, tmp_path, caught):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError) as info:
        shapes.root(SMALL)
    assert str(tmp_path / "file") in caught(info) and "GCNLAB_CACHE" in caught(info)


# --- altered data ---


@pytest.fixture
def drawn(monkeypatch, tmp_path, call):
    """``drawn()`` → the answer of ``data check shapes-tiny`` as of a new process."""
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_used", set())

    def checked(*command):
        forget()
        return call(*(command or ("data", "check", "shapes-tiny")))

    yield checked
    forget()


def test_committed_fingerprints_are_those_of_the_records_and_of_what_is_drawn():
    """If the drawing was changed on purpose, what fails here says the new values."""
    study = records.read_all(records.COMMITTED, "quick")
    runs = {from_json(record["config"]).data.name: record for record in study}
    recorded = {name: record["identity"]["data"] for name, record in runs.items()}
    assert recorded == {n: v for n, v in cache.COMMITTED.items() if "-tiny" not in n}
    versions = study[-1]["environment"]["versions"]
    if (versions["numpy"], versions["pillow"]) != (np.__version__, PIL.__version__):
        pytest.skip("other libraries may draw other bytes")
    now = {name: data.fingerprint(data.DataSpec(name, 1)) for name in SYNTHETIC if "-tiny" in name}
    assert now == {n: v for n, v in cache.COMMITTED.items() if "-tiny" in n}


@pytest.mark.parametrize("alter", [
    lambda folder: shutil.copy(*sorted((folder / "VOCdevkit/VOC2012/JPEGImages").iterdir())[:2]),
    lambda folder: next(folder.rglob("*Class/2007_000003.png")).unlink(),
    lambda folder: next(folder.rglob("2009_000003.mat")).write_bytes(b"half a file"),
    lambda folder: next(folder.rglob("train.txt")).write_text("2007_000001\n2007_000000\n"),
    lambda folder: [path.unlink() for path in (
        next(folder.rglob("*Class/2007_000003.png")), folder / cache.NOTE)],
])  # fmt: skip
def test_altered_drawn_data_are_refused_until_they_are_drawn_again(alter, drawn, tmp_path):
    code, out, err = drawn()
    assert (code, err) == (0, "") and ", as of the committed study" in out
    (folder,) = tmp_path.glob("shapes-*")
    alter(folder)
    for command in ((), ("run", "5", "--profile", "smoke", "--out", tmp_path / "out")):
        code, out, err = drawn(*command)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert f"{folder} were altered: delete that folder, and the same command" in err
    shutil.rmtree(folder)
    assert drawn()[0] == 0


def test_a_machine_that_draws_other_bytes_is_not_stopped(drawn, monkeypatch, tmp_path):
    monkeypatch.setitem(cache.COMMITTED, "shapes-tiny", "0" * 16)
    code, out, err = drawn()
    assert (code, err) == (0, "") and "other libraries draw other bytes here" in out
    (folder,) = tmp_path.glob("shapes-*")
    (folder / cache.NOTE).unlink()  # drawn by an earlier version: nobody knows whether altered
    assert drawn()[0] == 2
    shutil.rmtree(folder)
    assert drawn()[0] == 0
