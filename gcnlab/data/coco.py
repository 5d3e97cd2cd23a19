"""COCO's instance annotations as segmentation labels of VOC's classes (Stage-1 of Table 7).

Official layout: ``ROOT/coco/annotations/instances_<part>.json`` and the images in
``ROOT/coco/<part>`` or ``ROOT/coco/images/<part>``; the parts are those that are present of
train2014, val2014, train2017 and val2017 (the 2017 split wins). Categories are matched with VOC's
classes by name; six are spelled differently. Used are images with at least one single object (no
crowd) of the classes.
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from gcnlab.data import voc
from gcnlab.data.coco_masks import CocoSample
from gcnlab.data.readers import check_unique, reading
from gcnlab.errors import UserError

SPELLING = {
    "airplane": "aeroplane", "motorcycle": "motorbike", "dining table": "diningtable",
    "potted plant": "pottedplant", "couch": "sofa", "tv": "tvmonitor",
}  # fmt: skip
PARTS = (("train2017", "val2017"), ("train2014", "val2014"))


def _annotations(root: Path, part: str) -> Path:
    return root / "coco" / "annotations" / f"instances_{part}.json"


def _folder(root: Path, part: str) -> Path | None:
    folders = (root / "coco" / part, root / "coco" / "images" / part)
    return next((folder for folder in folders if folder.is_dir()), None)


@cache  # reading the official file takes half a minute
def _part(root: Path, part: str, classes: tuple[str, ...]) -> tuple[list[CocoSample], int]:
    """The samples of ``part``, such as ``train2017``, and how many images are listed."""
    path, folder, coco = _annotations(root, part), _folder(root, part), root / "coco"
    if folder is None:
        problem = f"{coco / part} is missing (nor is there {coco / 'images' / part})"
        raise UserError(f"{problem}: unpack COCO's {part}.zip there")
    with reading(path, "COCO annotations", f"unpack COCO's annotations into {coco}"):
        return _parsed(path, folder, classes)


def _parsed(path: Path, folder: Path, classes: tuple[str, ...]) -> tuple[list[CocoSample], int]:
    content = json.loads(path.read_text(encoding="utf-8"))
    number = {name: i for i, name in enumerate(classes)}
    for kind, name in (("categories", "id"), ("images", "id"), ("images", "file_name")):
        check_unique((entry[name] for entry in content[kind]), f"{path}: {name} of {kind}")
    names = {c["id"]: SPELLING.get(c["name"], c["name"]) for c in content["categories"]}
    objects: dict[int, list] = {image["id"]: [] for image in content["images"]}
    for a in content["annotations"]:
        class_id = number.get(names[a["category_id"]])
        if class_id is not None:
            area, crowd = float(a["area"]), bool(a["iscrowd"])
            if not 0 <= area < math.inf or a["iscrowd"] not in (0, 1):
                raise ValueError(f"an object of area {area} with iscrowd {a['iscrowd']!r:.40}")
            objects[a["image_id"]].append((class_id, area, crowd, a["segmentation"]))
    used = []
    for image in sorted(content["images"], key=lambda image: image["id"]):
        name, size = image["file_name"], (image["height"], image["width"])
        if not all(isinstance(side, int) and side > 0 for side in size):
            raise ValueError(f"{name} of {size[1]}×{size[0]} pixels")
        own = tuple(objects[image["id"]])
        if any(not crowd for _, _, crowd, _ in own):
            used.append(CocoSample(Path(name).stem, folder / name, path, objects=own, size=size))
    return used, len(content["images"])


def _parts(root: Path) -> list[str]:
    """The parts that are present; one without its folder of images only if no other is."""
    listed = [[part for part in parts if _annotations(root, part).is_file()] for parts in PARTS]
    for parts in listed:
        complete = [part for part in parts if _folder(root, part) is not None]
        if complete:
            return complete
    return [*listed[0], *listed[1], PARTS[0][0]][:1]  # reading it says what is missing


def samples(root: Path, classes: Sequence[str]) -> list[CocoSample]:
    """The samples that show ``classes`` (background first), by part and image id.

    Raises ``UserError`` if no part is present, or a file is missing or damaged.
    """
    return [s for part in _parts(root) for s in _part(root, part, tuple(classes))[0]]


def unused(root: Path, classes: Sequence[str]) -> int:
    """How many images of those parts show no single object of ``classes``, and are left out."""
    parts = (_part(root, part, tuple(classes)) for part in _parts(root))
    return sum(listed - len(used) for used, listed in parts)


def stage1_splits(coco_root: Callable[[Path], Path], classes: tuple[str, ...]) -> dict:
    """Splits of Stage-1 of Table 7: COCO, SBD and VOC train together, and VOC val.

    ``coco_root``: the data root → the folder that holds ``coco/``.
    """

    def from_coco(root: Path) -> list[CocoSample]:
        return samples(coco_root(root), classes)

    both = lambda root: from_coco(root) + voc.train_aug_samples(root)  # noqa: E731
    return {"COCO": from_coco, "train": both, "val": voc.SPLITS["val"]}
