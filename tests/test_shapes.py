"""The embedded data set: official layouts, the same bytes every time, classes that differ in their lobes alone."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage, stats
from torchvision.datasets import ImageFolder, SBDataset, VOCSegmentation

from gcnlab.data import cityscapes, coco, shapes, streets, twins, voc
from gcnlab.data.readers import read_image, read_label
from gcnlab.errors import UserError

SMALL = shapes.Sizes(train=3, extra=4, val=2, single_train=5, single_val=2)


# --- layouts, as torchvision reads them ----------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_torchvision_reads_our_voc(layout, split):
    theirs = VOCSegmentation(layout, year="2012", image_set=split, download=False)
    ours = voc.voc_samples(layout, split)
    assert len(theirs) == len(ours) == {"train": 4, "val": 3}[split]
    for (image, label), sample in zip(theirs, ours, strict=True):
        assert np.array_equal(image, read_image(sample.image))
        assert label.mode == "P"
        assert np.array_equal(label, read_label(sample.label, len(shapes.CLASSES)))


def test_torchvision_reads_our_sbd(layout):
    ours = {sample.name: sample for sample in voc.sbd_samples(layout)}
    seen = set()
    for split in ("train", "val"):
        theirs = SBDataset(layout / "benchmark_RELEASE/dataset", image_set=split, mode="segmentation", download=False)
        for path, (image, label) in zip(theirs.images, theirs, strict=True):
            sample = ours[Path(path).stem]
            assert np.array_equal(image, read_image(sample.image))
            assert np.array_equal(label, read_label(sample.label, len(shapes.CLASSES)))
            seen.add(sample.name)
    assert seen == set(ours)


def test_torchvision_reads_our_single_shapes(layout):
    theirs = ImageFolder(layout / "imagenet/train")
    assert len(theirs) == 30
    assert theirs.classes == [f"n{c:08d}" for c in range(1, len(shapes.CLASSES))]


def test_labels_and_instances_agree(layout):
    folder = layout / "VOCdevkit/VOC2012"
    with open(layout / "objects.csv") as file:
        rows = list(csv.DictReader(file))
    described = {(row["image"], int(row["instance"])): shapes.CLASSES.index(row["class"]) for row in rows}
    assert len(described) == len(rows) > 12
    drawn, classes = {}, {}
    for split in ("train", "val"):
        for sample in voc.voc_samples(layout, split):
            label = np.array(Image.open(sample.label))
            instances = np.array(Image.open(folder / "SegmentationObject" / f"{sample.name}.png"))
            assert np.array_equal(label == shapes.VOID, instances == shapes.VOID)
            assert np.array_equal(label == 0, instances == 0)
            for number in np.setdiff1d(instances, [0, shapes.VOID]):
                (drawn[sample.name, int(number)],) = np.unique(label[instances == number])
    assert drawn == {key: c for key, c in described.items() if key[0][:4] in ("2007", "2008")}, (
        "every object is described"
    )
    for sample in voc.sbd_samples(layout):
        if sample.name.startswith("2009"):
            present = np.setdiff1d(read_label(sample.label, len(shapes.CLASSES)), [0])
            classes = {c for (name, _), c in described.items() if name == sample.name}
            assert set(present.tolist()) == classes


def test_only_voc_labels_have_void(layout):
    samples = voc.train_aug_samples(layout)
    void = [(read_label(sample.label, len(shapes.CLASSES)) == shapes.VOID).mean() for sample in samples]
    assert all(0 < share < 0.2 for share in void[:4])
    assert void[4:] == [0] * 5, "SBD has no void"


# --- the same bytes every time -------------------------------------------------------------------


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("drawing", "sizes", "files"), [
    (shapes, SMALL, 30), (twins, twins.Sizes(coco=5, test=2), 8), (streets, streets.Sizes(2, 1, 3, 1), 13),
])  # fmt: skip
def test_two_folders_are_identical(drawing, sizes, files, tmp_path, monkeypatch):
    drawing.write(tmp_path / "one", sizes)
    np.random.seed(1)
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.asctime", lambda *_: "long ago")
    drawing.write(tmp_path / "two", sizes)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert len(one) >= files


def test_a_larger_data_set_begins_with_the_smaller_one(tmp_path, layout):
    shapes.write(tmp_path / "small", SMALL)
    small, large = contents(tmp_path / "small"), contents(layout)
    images = [path for path in small if path.suffix in (".jpg", ".png", ".mat")]
    assert images and all(small[path] == large[path] for path in images)


def test_no_image_twice(layout):
    images = [content for path, content in contents(layout).items() if path.suffix in (".jpg", ".JPEG")]
    shared = {s.name for s in voc.sbd_samples(layout)} & {
        s.name for p in ("train", "val") for s in voc.voc_samples(layout, p)
    }
    assert len(set(images)) == 4 + 3 + 5 + 30 + 2
    assert len(images) <= len(set(images)) + len(shared)


# --- the class hides in nothing but the lobes ----------------------------------------------------


@pytest.fixture(scope="module")
def singles():
    """(class, diameter, area, brightness of the object, distance from the centre) of single objects."""
    rows = []
    for index in range(800):
        rng = np.random.default_rng([123, index])
        scene = shapes.draw(rng, (0.15, 0.6), count=1, side=48)
        (class_id, diameter), inside = scene.objects[0], scene.classes > 0
        centre = np.argwhere(inside).mean(0) - 23.5
        rows.append((class_id, diameter, inside.sum() / diameter**2, scene.image[inside].mean(), np.hypot(*centre)))
    return np.array(rows)


@pytest.mark.parametrize(("column", "name"), [(1, "diameter"), (3, "brightness"), (4, "place")])
def test_class_is_independent_of(singles, column, name):
    groups = [singles[singles[:, 0] == c, column] for c in range(1, len(shapes.CLASSES))]
    assert min(map(len, groups)) > 70, "classes are equally frequent"
    assert stats.kruskal(*groups).pvalue > 0.01, f"the {name} of an object tells its class"


def test_diameters_are_log_uniform_and_kept(singles):
    low, high = np.log(0.15 * 48), np.log(0.6 * 48)
    assert stats.kstest(np.log(singles[:, 1]), stats.uniform(low, high - low).cdf).pvalue > 0.01
    # the outline r = R (1 + a cos nθ), R = d / 2 / (1 + a), has the area π R² (1 + a² / 2) / stretch
    mean = np.mean([np.pi / 4 / (1 + a) ** 2 * (1 + a * a / 2) / s for a in np.linspace(0.25, 0.4, 9)
                    for s in np.linspace(1, 1.25, 9)])  # fmt: skip
    for c in range(1, len(shapes.CLASSES)):
        assert singles[singles[:, 0] == c, 2].mean() == pytest.approx(mean, rel=0.05)


def test_outlines_are_void_for_every_class():
    crossings, open_crossings = np.zeros((2, len(shapes.CLASSES)), int)
    for index in range(300):
        scene = shapes.draw(np.random.default_rng([9, index]), (0.3, 0.9), count=1)
        class_id = scene.objects[0][0]
        for axis in (0, 1):
            label, band = (np.moveaxis(array, axis, 0) for array in (scene.classes, scene.band))
            crossing = label[1:] != label[:-1]
            crossings[class_id] += crossing.sum()
            open_crossings[class_id] += (crossing & ~band[1:] & ~band[:-1]).sum()
    share = open_crossings[1:] / crossings[1:]
    assert share.max() < 0.02, f"neighbours of figure and ground without void between them, by class: {share.round(3)}"


def test_sharpness_of_an_outline_does_not_tell_the_class():
    """The colour step across an outline, as a share of the step two pixels further out: a cue within four pixels."""
    steps = [[] for _ in shapes.CLASSES]
    for index in range(500):
        scene = shapes.draw(np.random.default_rng([9, index]), (0.3, 0.9), count=1)
        for axis in (0, 1):
            label, colour = np.moveaxis(scene.classes, axis, 0), np.moveaxis(scene.image.astype(float), axis, 0)
            near = np.abs(colour[2:-1] - colour[1:-2]).sum(-1)
            far = np.abs(colour[3:] - colour[:-3]).sum(-1)
            clear = (label[2:-1] != label[1:-2]) & (far > 60)
            steps[scene.objects[0][0]] += (near[clear] / far[clear]).tolist()
    sharpness = np.array([np.mean(values) for values in steps[1:]])
    assert np.ptp(sharpness) < 0.06, f"mean sharpness by class: {sharpness.round(3)}"


@pytest.mark.parametrize("class_id", range(1, 8))
def test_the_class_is_the_number_of_lobes(class_id):
    found = []
    for index in range(400):
        scene = shapes.draw(np.random.default_rng([7, index]), (0.8, 0.9), count=1, side=96)
        if scene.objects[0][0] != class_id:
            continue
        inside = scene.classes > 0
        rows, columns = np.mgrid[:96, :96] + 0.5
        # undo the stretch by making the second moments equal, then look for the strongest angular frequency
        points = np.stack([columns[inside], rows[inside]])
        centre = points.mean(1, keepdims=True)
        values, axes = np.linalg.eigh(np.cov(points))
        if shapes.LOBES[class_id - 1] == 2:  # two lobes are elongated by themselves
            values[:] = 1
        round_points = (axes / np.sqrt(values)).T @ (points - centre)
        angle, radius = np.arctan2(*round_points), np.hypot(*round_points)
        bins = ((angle + np.pi) / (2 * np.pi) * 64).astype(int) % 64
        outline = np.array([radius[bins == b].max() for b in range(64)])
        found.append(np.abs(np.fft.rfft(outline))[2:12].argmax() + 2)
        if len(found) == 8:
            break
    assert len(found) == 8
    assert np.median(found) == shapes.LOBES[class_id - 1]


# --- the stand-ins for COCO and Cityscapes -------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The scenes in the order in which they are drawn."""
    scenes, draw = [], shapes.draw
    monkeypatch.setattr(shapes, "draw", lambda *args, **kwargs: scenes.append(draw(*args, **kwargs)) or scenes[-1])
    return scenes


def test_polygons_follow_the_drawn_objects_coarsely(drawn, tmp_path):
    twins.write(tmp_path, twins.Sizes(coco=60, test=0))
    theirs = COCO(tmp_path / "coco/annotations/instances_train2017.json")
    names = {c["id"]: c["name"] for c in theirs.loadCats(theirs.getCatIds())}
    assert tuple(names.values()) == shapes.CLASSES[1:] and min(np.diff(list(names))) > 1, "gaps, as COCO's ids have"
    overlaps = []
    for index, scene in enumerate(drawn):
        found = theirs.loadAnns(theirs.getAnnIds(imgIds=index))
        assert [names[a["category_id"]] for a in found] == [shapes.CLASSES[c] for c, _ in scene.objects]
        for number, annotation in enumerate(found, 1):
            outline, inside = theirs.annToMask(annotation) > 0, scene.instances == number
            assert annotation["area"] == inside.sum()
            if annotation["iscrowd"]:
                assert np.array_equal(outline, inside), "run lengths are exact"
            else:
                overlaps.append((outline & inside).sum() / (outline | inside).sum())
    assert min(overlaps) > 0.5 and 0.75 < np.mean(overlaps) < 0.95 and len(overlaps) > 90
    assert {a["image_id"] for a in theirs.loadAnns(theirs.getAnnIds(iscrowd=True))} <= {0, 50} != set()
    samples = coco.samples(tmp_path, shapes.CLASSES)
    assert len(samples) == 60, "every image has a single object"
    for sample in samples:
        label, scene = sample.read_label(len(shapes.CLASSES)), drawn[int(sample.name)]
        assert read_image(sample.image).size == scene.classes.shape
        assert (label == scene.classes)[label != shapes.VOID].mean() > 0.8


def test_the_test_split_has_images_and_no_labels(tmp_path):
    twins.write(tmp_path, twins.Sizes(coco=1, test=3))
    images = voc.test_images(tmp_path)
    assert len(images) == 3 and all(read_image(path).size == (shapes.SIDE, shapes.SIDE) for path in images)
    folder = tmp_path / "VOCdevkit/VOC2012"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*(f"JPEGImages/{p.name}" for p in images), "ImageSets/Segmentation/test.txt"}


def test_every_class_of_the_streets_occurs_and_no_other(tmp_path):
    streets.write(tmp_path, streets.TINY)
    seen = {}
    for split, quality in (("train", "gtFine"), ("val", "gtFine"), ("train_extra", "gtCoarse")):
        samples = cityscapes.samples(tmp_path, split, quality)
        values = np.unique([sample.read_label(len(cityscapes.CLASSES)) for sample in samples]).tolist()
        seen[split] = ["void" if v == shapes.VOID else cityscapes.CLASSES[v] for v in values]
        assert {read_image(sample.image).size for sample in samples} == {streets.SIZE}
    assert seen["train"] == seen["val"] == list(streets.PRESENT)
    assert seen["train_extra"] == [*(n for n in streets.PRESENT if n != "pole"), "void"], "poles are all outline"


def test_coarse_labels_are_the_fine_ones_away_from_every_outline(tmp_path, monkeypatch):
    fine, draw = [], streets.draw
    monkeypatch.setattr(streets, "draw", lambda rng: fine.append(draw(rng)) or fine[-1])
    streets.write(tmp_path, streets.Sizes(fine=0, val=0, coarse=6, test=0))
    paths = sorted((tmp_path / "cityscapes/gtCoarse/train_extra").rglob("*.png"))
    for path, (_, label) in zip(paths, fine, strict=True):
        coarse = np.array(Image.open(path))
        assert np.array_equal(coarse[coarse > 0], label[coarse > 0]) and 0.1 < (coarse == 0).mean() < 0.4
        outline = np.zeros(label.shape, bool)
        outline[1:] |= label[1:] != label[:-1]
        outline[:, 1:] |= label[:, 1:] != label[:, :-1]
        away = ndimage.distance_transform_cdt(~outline) > streets.BLOCK
        assert (coarse[away] > 0).all(), "only the surroundings of outlines are unlabelled"
        for x, y in np.argwhere(coarse > 0)[::97] // streets.BLOCK * streets.BLOCK:
            assert len(np.unique(label[x : x + streets.BLOCK, y : y + streets.BLOCK])) == 1


# --- the folder ----------------------------------------------------------------------------------


def test_written_once(monkeypatch, tmp_path):
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path / "deep" / "cache"))
    folder = shapes.root(SMALL)
    assert folder.parent == tmp_path / "deep" / "cache"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(shapes, "write", lambda *_: pytest.fail("written again"))
    assert shapes.root(SMALL) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_other_sizes_have_another_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path))
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
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shapes, "save_jpeg", save)
    assert len(voc.voc_samples(shapes.root(SMALL), "train")) == 3


def test_a_full_or_blocked_cache_is_a_user_error(monkeypatch, tmp_path, caught):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError) as info:
        shapes.root(SMALL)
    assert str(tmp_path / "file") in caught(info) and "GCNLAB_CACHE" in caught(info)
