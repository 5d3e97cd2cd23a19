"""A finished run on pictures of one's own."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from gcnlab import files
from gcnlab.data import DataSpec
from gcnlab.data.palette import COLORS, PALETTE
from gcnlab.data.readers import read_image, reading
from gcnlab.data.transforms import pad
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Pairwise, dense_crf
from gcnlab.evaluation.inference import TestTime, probabilities
from gcnlab.experiments import records
from gcnlab.experiments.building import load_weights
from gcnlab.experiments.config import CrfEvaluation, Evaluation, PreTraining, Training, from_json
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.measuring import inference_context
from gcnlab.experiments.store import key_of

MOST_PIXELS = 1 << 25  # of a picture: the probabilities of 21 classes then take 3 GB
SegmentationRun = Training | Evaluation | CrfEvaluation


def find_record(key: str, runs: Path) -> Path:
    """The record with this key or name in any profile below ``runs``; ``UserError`` unless one."""
    paths = sorted(runs.glob("*/runs/*.json"))
    matches = [path for path in paths if key in (path.stem, *path.stem.rsplit("-", 1))]
    if not matches:
        some = (
            f"are {len(paths)}, such as {paths[0].stem}" if paths else "are none: train one first"
        )
        raise UserError(f"no run {key!r} below {runs}; there {some}")
    if len(matches) > 1:
        names = ", ".join(f"{path.parts[-3]}/{path.stem}" for path in matches)
        raise UserError(f"run {key!r} could be {names}: name one by its key, the last 12 letters")
    return matches[0]


def segmentation_run(path: Path) -> SegmentationRun:
    """The run of the record in ``path``; ``UserError`` if it is a classifier's or damaged."""
    record = records.read(path)
    run = from_json(record["config"])
    if isinstance(run, PreTraining):
        raise UserError(f"{path.stem} is a classifier: name a segmentation run")
    if record["key"] != key_of(run, record["identity"]):
        raise UserError(f"{path}: its config is not that of its key: restore the file")
    return run


def _start_of(path: Path, start: SegmentationRun) -> tuple[Path, SegmentationRun]:
    """The record of what the run in ``path`` starts from, and ``start``."""
    digest = records.read(path)["identity"]["start"]
    for other in sorted(path.parent.glob("*.json")):  # never a path that a record makes up
        if other.stem.rpartition("-")[0] == start.name:
            record = records.read(other)
            if digest in (record["key"], record.get("weights")):
                return other, start
    problem = f"{path.stem} starts from {start.name}, which is not in {path.parent}"
    raise UserError(f"{problem}: copy its record and weights too")


class Predictor:
    """The finished run of a record, ready for pictures: ``predictor(image)`` → (H, W) class ids.

    The ids are those of the run's data set: uint8, or uint16 beyond 256 classes. A run of the MS or
    the CRF row looks at a picture as that row did. Pictures are
    scaled as the profile scales its images, else down if they are larger than these, and the class
    probabilities scaled back.

    ``UserError`` if the run is a classifier, or its weights are not beside its record (the
    committed study has none).
    """

    def __init__(self, path: Path):
        run = self.run = segmentation_run(path)
        self.kernels, self.how = None, run.training.test_time or TestTime()
        if isinstance(run, CrfEvaluation):
            run.crf.check_backend()
            self.kernels = _chosen(path, run)
            path, run = _start_of(path, run.start)
        if isinstance(run, Evaluation):
            self.how = run.test_time
            path, run = _start_of(path, run.start)
        self.model = _load(path, run).to(pick_device(), memory_format=torch.channels_last)
        self.context, self.class_ids = inference_context(), _class_ids(run.data)

    def __call__(self, image: Image.Image) -> np.ndarray:
        spec, (width, height) = self.run.data.for_validation, image.size
        factor = min(1.0, spec.canvas[0] / height, spec.canvas[1] / width)
        if spec.long_side:
            factor = spec.long_side / max(image.size)
        columns, rows = (max(1, round(side * factor)) for side in image.size)
        pixels = np.array(image.resize((columns, rows), Image.Resampling.BILINEAR))
        padded, _ = pad(pixels, np.zeros(pixels.shape[:2], np.uint8), *spec.canvas)
        batch = torch.from_numpy(padded).permute(2, 0, 1)[None]
        scores = probabilities(self.model, batch, self.how, self.context)[..., :rows, :columns]
        if self.kernels is not None:
            crf, arrays = self.run.crf, (scores[0].numpy(), pixels)
            refined = dense_crf(*arrays, self.kernels, crf.backend, crf.iterations)
            scores = torch.from_numpy(refined)[None]
        scores = F.interpolate(scores, (height, width), mode="bilinear")
        return self.class_ids[scores[0].argmax(0).numpy()]


def _load(path: Path, run: Training) -> torch.nn.Module:
    record = records.read(path)
    if record.get("diverged"):
        raise UserError(f"{path.stem} diverged ({record['diverged']}): it has no trained weights")
    weights = path.parent.parent / "weights" / f"{path.stem}.pt"
    try:
        model = load_weights(run, weights, record["weights"])
    except ValueError as error:  # of a config that describes no model
        raise UserError(f"{path}: {error}: restore the file") from None
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
        raise UserError(f"{weights} has values that are no numbers: name another run")
    return model


def _chosen(path: Path, run: CrfEvaluation) -> Pairwise:
    chosen = records.read(path)["crf"]["chosen"]
    for kernels in run.crf.candidates:
        if asdict(kernels) == chosen:
            return kernels
    raise UserError(f"{path} has chosen none of its CRF's kernels: restore the file")


def _class_ids(spec: DataSpec) -> np.ndarray:
    """The id in the data set of each output of a model of ``spec``."""
    ids = np.array(spec.classes or range(len(spec.class_names)))
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16)


def write_class_ids(classes: np.ndarray, path: Path) -> None:
    """Write class ids (H, W): uint8 with VOC's palette, as VOC does; uint16 as 16-bit grey."""
    image = Image.fromarray(classes)
    if classes.dtype == np.uint8:
        image.putpalette(PALETTE)
    write_png(image, path)


def write_png(image: Image.Image, path: Path) -> None:
    """Write ``image`` so that ``path`` is whole or not there."""
    content = io.BytesIO()
    image.save(content, "png")
    files.write(content.getvalue(), path)


def outputs(pictures: list[Path], out: Path) -> list[Path]:
    """The files that :func:`predict` writes: ``<name>.png`` and ``<name>_overlay.png`` per picture.

    ``UserError`` if two of them have one name, or one would replace a picture.
    """
    paths = [out / f"{p.stem}{end}.png" for p in pictures for end in ("", "_overlay")]
    given = {path.resolve(): path for path in pictures}
    for path in paths:
        if paths.count(path) > 1:
            raise UserError(f"two outputs would be called {path.name}: use different folders")
        if path.resolve() in given:
            raise UserError(f"{path} would replace {given[path.resolve()]}: use another folder")
    return paths


def check_pictures(pictures: list[Path]) -> None:
    """``UserError`` for the first that is missing, damaged, too large or no regular file."""
    for path in pictures:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            reading(path, "an image", "check its name"),
            Image.open(path) as image,
        ):
            pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            problem = f"{path} has {pixels / 1e6:.0f} megapixels"
            raise UserError(f"{problem}: scale it down to at most {MOST_PIXELS / 1e6:.0f}")
        read_image(path, upright=True)


def predict(pictures: list[Path], predictor: Predictor, out: Path) -> Iterator[str]:
    """Write the :func:`outputs` into the folder ``out``; an overlay keeps the background as it is.

    Yields a line per picture: its classes by share of the area.
    """
    class_names = predictor.run.data.source.classes
    for path in pictures:
        image = read_image(path, upright=True)
        classes = predictor(image)
        write_class_ids(classes, out / f"{path.stem}.png")
        shaded = Image.fromarray((classes > 0) | (class_names[0] != "background"))
        blend = Image.blend(image, Image.fromarray(COLORS[classes & 255]), 0.5)
        overlay = Image.composite(blend, image, shaded.convert("L"))
        write_png(overlay, out / f"{path.stem}_overlay.png")
        ids, pixels = np.unique(classes, return_counts=True)
        shares = sorted(zip(pixels / classes.size, ids, strict=True), reverse=True)
        yield f"{path}: " + ", ".join(f"{class_names[i]} {100 * s:.1f} %" for s, i in shares)
