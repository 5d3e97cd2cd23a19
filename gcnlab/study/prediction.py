"""A finished run on pictures of one's own, and on the test images of a benchmark server."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from gcnlab.data import cityscapes, shapes
from gcnlab.data.readers import read_image, read_upright
from gcnlab.data.transforms import pad
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Pairwise, dense_crf
from gcnlab.evaluation.inference import TestTime, probabilities
from gcnlab.study import results
from gcnlab.study.experiment import pick_device
from gcnlab.study.run import Run, load_weights
from gcnlab.training import autocast, best_precision


def find_record(key: str, runs: Path) -> dict[str, Any]:
    """The record with this key, or with this name, in any profile below ``runs``; ``UserError`` unless there is one."""
    name = escape(key)
    found = sorted({*runs.glob(f"*/runs/*-{name}.json"), *runs.glob(f"*/runs/{name}-{'?' * 12}.json")})
    if not found:
        known = sorted(path.stem for path in runs.glob("*/runs/*.json"))
        there = f"are {len(known)}, such as {known[0]}" if known else "are none: train one first"
        raise UserError(f"--run {key}: no such run below {runs}; there {there}")
    if len(found) > 1:
        names = ", ".join(f"{path.parts[-3]}/{path.stem}" for path in found)
        raise UserError(f"--run {key} could be {names}: name one by its key, the last 12 letters")
    path = found[0]
    return results.read_record(runs, path.parts[-3], path.stem[:-13], path.stem[-12:])


class Predictor:
    """A finished run, ready for pictures: ``predictor(image)`` → (H, W) uint8 class ids of the run's data set.

    A run of the MS or the CRF row looks at a picture as that row did. Pictures larger than those of the profile are
    scaled down, and the class probabilities scaled back.

    Raises ``UserError`` if the run is a classifier or its weights are not below ``runs`` (a committed record has none).
    """

    def __init__(self, record: dict[str, Any], runs: Path):
        self.run, self.key = Run.from_config(record["config"]), record["key"]
        if self.run.study == "pretraining":
            raise UserError(f"{record['name']} is a classifier: name a segmentation run")
        self.kernels = None
        if self.run.crf is not None:
            self.run.crf.check_backend()
            self.kernels = Pairwise(**record["crf"]["chosen"])
            record = find_record(record["weights"], runs)
        self.how = Run.from_config(record["config"]).test_time or TestTime()
        if record["config"]["study"] == "evaluation":
            record = find_record(record["weights"], runs)
        path = results.weights_path(runs, record["config"]["profile"], record["name"], record["key"])
        device = pick_device()
        model = load_weights(Run.from_config(record["config"]), path)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.context = autocast(device, best_precision(device))

    def __call__(self, image: Image.Image) -> np.ndarray:
        spec, (width, height) = self.run.data, image.size
        if spec.long_side:
            factor = spec.long_side / max(image.size)
        else:
            factor = min(1.0, spec.canvas[0] / height, spec.canvas[1] / width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = np.array(image.resize(size, Image.Resampling.BILINEAR))
        padded, _ = pad(pixels, np.zeros(pixels.shape[:2], np.uint8), *spec.canvas)
        found = probabilities(self.model, torch.from_numpy(padded).permute(2, 0, 1)[None], self.how, self.context)
        found = found[..., : size[1], : size[0]]
        if self.kernels is not None:
            crf = self.run.crf
            refined = dense_crf(found[0].numpy(), pixels, self.kernels, crf.backend, crf.iterations)
            found = torch.from_numpy(refined)[None]
        classes = F.interpolate(found, (height, width), mode="bilinear")[0].argmax(0).numpy().astype(np.uint8)
        return classes if spec.classes is None else np.array(spec.classes, np.uint8)[classes]


def palette_png(classes: np.ndarray, path: Path) -> None:
    """Write class ids (H, W) uint8 as VOC does: an indexed picture with VOC's colours."""
    image = Image.fromarray(classes)
    image.putpalette(shapes.PALETTE)
    image.save(path)


def predict(pictures: list[Path], predictor: Predictor, out: Path) -> Iterator[str]:
    """Write ``<name>.png`` (class ids, VOC's colours) and ``<name>_overlay.png`` for every picture.

    Yields a line per picture: its classes by share of the area. Raises ``UserError`` before work if two pictures have
    one name, one is missing or damaged, or an output would replace a picture.
    """
    names = [name for path in pictures for name in (path.stem, f"{path.stem}_overlay")]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"two outputs would be called {min(twice)}.png: predict them into different folders")
    for path in pictures:
        read_image(path)
        if (out / f"{path.stem}.png").resolve() == path.resolve():
            raise UserError(f"--out {out} would replace {path}: choose another folder")
    class_names = predictor.run.data.source.classes
    for path in pictures:
        image = read_upright(path)
        classes = predictor(image)
        palette_png(classes, out / f"{path.stem}.png")
        shade = np.where((classes > 0)[..., None] | (class_names[0] != "background"), 0.5, 0.0)
        overlay = np.array(image) * (1 - shade) + shapes.COLORS[classes] * shade
        Image.fromarray(overlay.round().astype(np.uint8)).save(out / f"{path.stem}_overlay.png")
        shares = sorted(((np.mean(classes == i), class_names[i]) for i in np.unique(classes)), reverse=True)
        yield f"{path}: " + ", ".join(f"{name} {100 * share:.1f} %" for share, name in shares)


# --- test servers ---------------------------------------------------------------------------------------------


def is_street(run: Run) -> bool:
    """Whether the test server is that of Cityscapes, not of VOC."""
    return run.data.source.classes == cityscapes.CLASSES


def submission_name(image: Path, street: bool) -> str:
    """Where the prediction for ``image`` lies in a submission.

    VOC: ``results/VOC2012/Segmentation/comp6_test_cls/<name>.png`` (comp6: other data than VOC's may be used);
    Cityscapes: ``<city>_<sequence>_<frame>_labelIds.png``.
    """
    if street:
        return f"{image.name.removesuffix('_leftImg8bit.png')}_labelIds.png"
    return f"results/VOC2012/Segmentation/comp6_test_cls/{image.stem}.png"


def test_images(run: Run, data_root: Path | None) -> list[Path]:
    """The images of which the test server of ``run``'s data wants predictions; ``UserError`` if it has none."""
    if run.study == "pretraining":
        raise UserError(f"{run.name} is a classifier: name a segmentation run")
    if run.data.source.test is None:
        raise UserError(f"data set {run.data.name!r} has no test server")
    return run.data.source.test(run.data.root(data_root))


def submission_folder(out: Path, key: str) -> Path:
    """Where the predictions of the run ``key`` are collected."""
    return out / f"submission-{key}"


def submit(predictor: Predictor, out: Path, data_root: Path | None, log: Callable[[str], None] = print) -> Path:
    """Predict all test images below ``out``, check the files, and pack them: the archive to upload.

    Predictions that an interrupted call has left are kept.
    """
    run, street = predictor.run, is_street(predictor.run)
    images = test_images(run, data_root)
    folder = submission_folder(out, predictor.key)
    ids = np.array(list(cityscapes.LABEL_IDS.values()), np.uint8)
    for number, path in enumerate(images, 1):
        place = folder / submission_name(path, street)
        if place.exists():
            continue
        classes = predictor(read_image(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        work = out / f".{folder.name}-{os.getpid()}.png"  # what is in the folder is whole, and wanted by the server
        try:
            Image.fromarray(ids[classes]).save(work) if street else palette_png(classes, work)
            work.replace(place)
        finally:
            work.unlink(missing_ok=True)
        if number % 100 == 0:
            log(f"{number} of {len(images)} images")
    check_submission(folder, images, street, len(run.data.source.classes))
    return Path(shutil.make_archive(str(folder), "zip" if street else "gztar", folder))


def check_submission(folder: Path, images: Iterable[Path], street: bool, num_classes: int) -> int:
    """Number of predictions; ``UserError`` for the first that the server would refuse.

    One PNG per test image and none besides, as large as its image; VOC wants class ids without void and its palette,
    Cityscapes its official label ids, without a palette.
    """
    legal = set(cityscapes.LABEL_IDS.values()) if street else set(range(num_classes))
    expected = {submission_name(image, street): image for image in images}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    missing, unknown = sorted(set(expected) - found), sorted(found - set(expected))
    for problem, names in (("lacks", missing), ("has no use for", unknown)):
        if names:
            raise UserError(f"{folder}: the server {problem} {len(names)} files, first {names[0]}")
    mode, palette = ("L", None) if street else ("P", shapes.PALETTE)
    for name, image in expected.items():
        width, height = read_image(image).size
        try:
            with Image.open(folder / name) as picture:
                picture.verify()  # its checksums; a file can then not be read on
            with Image.open(folder / name) as picture:
                wrong = (picture.format, picture.mode, picture.size) != ("PNG", mode, (width, height))
                if wrong or picture.getpalette() != palette:
                    kind = f"a {picture.format} of {picture.size[0]}×{picture.size[1]} of mode {picture.mode}"
                    raise UserError(f"{folder / name} is {kind}: the server wants a PNG of {width}×{height} pixels of "
                                    f"mode {mode}" + (" with VOC's palette" if palette else ""))  # fmt: skip
                illegal = set(np.unique(np.array(picture)).tolist()) - legal
        except (OSError, SyntaxError) as error:
            raise UserError(f"{folder / name} cannot be read ({error}): delete it and submit again") from None
        if illegal:
            raise UserError(f"{folder / name} has the value {min(illegal)}, which is no class of the server")
    return len(expected)
