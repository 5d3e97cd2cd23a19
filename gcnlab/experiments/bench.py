"""What the engine gains: each part timed beside a plain version of it whose outputs are equal.

The plain versions are what one would write first: eager float32, the ordinary grouped
deconvolution, one image decoded when it is needed, scipy's distances for every region and
scikit-learn's confusion matrix, captum's occlusion. Both sides alternate in one process, and
medians are compared, so that other work on the machine slows both. A package that is not installed
leaves its part out.
"""

import multiprocessing
import os
import platform
import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from operator import truediv
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage

from gcnlab.data import Split
from gcnlab.evaluation import SegmentationCounts, count_multiply_adds, receptive_field
from gcnlab.evaluation.inference import predict
from gcnlab.experiments.environment import (
    device_name,
    keep_pages,
    peak_memory,
    pick_device,
    provenance,
)
from gcnlab.models import build_segmenter
from gcnlab.models.segmenter import Segmenter
from gcnlab.training import IGNORE_INDEX, Schedule, autocast, best_precision, make_step

CLASSES, DISTANCES = 21, (3, 5, 7, 9)
STREET = (1024, 2048)  # of an image of Cityscapes, the dearest to load
SCHEDULE = Schedule(1_000_000, 1, "sgd", lr=1e-10, decay="constant", momentum=0.99,
                    weight_decay=5e-4, loss_reduction="sum")  # fmt: skip
Log = Callable[[str], None]


def measure(side: int = 512, rounds: int = 5, log: Log = print) -> dict[str, Any]:
    """Time every part on images of ``side`` pixels, ``rounds`` times each; one JSON value.

    ``results``: per part the median ``seconds`` of each version, and the median of the ratios of
    each other version's time to ours, round by round. ``skipped``: parts left out, and why.
    Raises ``AssertionError`` if two versions of a part differ in what they compute.
    """
    keep_pages()
    results, skipped, load = {}, {}, os.getloadavg()[0]
    parts = {
        "loader": _loader,
        "training step": partial(_step, side),
        "inference": partial(_inference, side),
        "metrics": partial(_metrics, side),
        "occlusion": partial(_occlusion, side // 2, False),
        "occlusion, BR": partial(_occlusion, side // 2, True),
    }
    for name, prepare in parts.items():
        try:
            results[name] = compare(prepare(), rounds)
        except ImportError as error:
            skipped[name] = f"needs {error.name}: pip install -e '.[test]'"
        log(f"{name}: {_line(results[name]) if name in results else skipped[name]}")
    results["memory"] = _memory(side)
    log(f"memory: {_line(results['memory'])}")
    precision, rates = best_precision(pick_device()), _matrix_rates()
    operations = 6 * count_multiply_adds(_model(), (1, 3, side, side))  # forward and backward
    done = operations / results["training step"]["seconds"]["ours"]
    return {
        "side": side,
        "rounds": rounds,
        "machine": {"device": device_name(), "cores": os.cpu_count(), "system": platform.platform(),
                    "threads": torch.get_num_threads(), "load": [load, os.getloadavg()[0]]},
        "precision": precision,
        **provenance(),
        "results": results,
        "skipped": skipped,
        "matrix rate, GFLOP/s": rates,
        "share of it in a step": done / 1e9 / rates[precision],
    }  # fmt: skip


def compare(versions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Median seconds of each version, called in turn, and medians of the ratios to ours."""
    taken: dict[str, list[float]] = {name: [] for name in versions}
    for number in range(rounds + 1):
        for name, call in versions.items():
            began = time.perf_counter()
            call()
            if pick_device().type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first call warms up
                taken[name].append(time.perf_counter() - began)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    return {"seconds": seconds} | {
        f"{name} / ours": statistics.median(map(truediv, times, taken["ours"]))
        for name, times in taken.items()
        if name != "ours"
    }


def _line(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {v:.2f}" for name, v in result.items() if isinstance(v, float))


def _assert_close(ours: Any, plain: Any, tolerance: float) -> None:
    ours, plain = (torch.as_tensor(value).double().cpu() for value in (ours, plain))
    difference = float((ours - plain).abs().max() / plain.abs().max())
    assert difference <= tolerance, f"the versions differ by {difference:.1e} of the largest value"


# --- the network ---------------------------------------------------------------------------------


def _model(refine: bool = True) -> Segmenter:
    torch.manual_seed(0)
    model = build_segmenter("gcn", 15, None, refine, "resnet50", CLASSES, batch_norm="frozen")
    return model.to(pick_device())


def _pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth image and a label map of blocks, as compressible as photographs are."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 16, width // 16, generator=generator)
    image = F.interpolate(coarse * 255, (height, width), mode="bicubic").clamp(0, 255)
    blocks = torch.randint(CLASSES, (1, 1, height // 64 or 1, width // 64 or 1),
                           generator=generator)  # fmt: skip
    label = F.interpolate(blocks.float(), (height, width))
    return image[0].byte(), label[0, 0].byte()


class _Files:
    """``count`` images with label maps as PNG files, and what decodes one."""

    def __init__(self, height: int, width: int, count: int):
        self._folder = tempfile.TemporaryDirectory()
        image, label = (tensor.numpy() for tensor in _pair(height, width))
        self.samples = [Path(self._folder.name) / str(number) for number in range(count)]
        for path in self.samples:
            Image.fromarray(image.transpose(1, 2, 0)).save(f"{path}.png", compress_level=1)
            Image.fromarray(label).save(f"{path}-label.png")

    def decode(self, path: Path) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        image = torch.from_numpy(np.array(Image.open(f"{path}.png"))).permute(2, 0, 1).contiguous()
        label = torch.from_numpy(np.array(Image.open(f"{path}-label.png")))
        return image, label, tuple(label.shape)


class _PlainStep:
    """The step of a tutorial: eager float32, an image decoded when it is needed."""

    def __init__(self, files: _Files):
        self.model, self._files = _model().train(), files
        options = {"lr": SCHEDULE.lr, "momentum": 0.99, "weight_decay": 5e-4, "foreach": False}
        self._optimizer = torch.optim.SGD(self.model.parameters(), **options)

    def __call__(self) -> torch.Tensor:
        image, label, _ = self._files.decode(self._files.samples[0])
        image, label = (t[None].to(pick_device()) for t in (image, label.long()))
        loss = F.cross_entropy(self.model(image), label, ignore_index=IGNORE_INDEX, reduction="sum")
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()


def _our_step(files: _Files) -> Callable[[], torch.Tensor]:
    step = make_step(_model(), CLASSES, SCHEDULE, pick_device())
    batches = Split(files.samples, files.decode).shuffled(1, 0, 0, SCHEDULE.steps)
    return lambda: step(*next(batches))


def _step(side: int) -> dict[str, Callable]:
    files = _Files(side, side, 8)
    plain, pair = _PlainStep(files), [tensor[None] for tensor in _pair(side, side)]
    expected = plain()
    for precision, tolerance in (("float32", 1e-4), (best_precision(pick_device()), 0.02)):
        step = make_step(_model(), CLASSES, SCHEDULE, pick_device(), precision)
        _assert_close(step(*pair), expected, tolerance)
    return {"plain": plain, "ours": _our_step(files)}


def _inference(side: int) -> dict[str, Callable]:
    plain = _model().eval()
    ours, images = _model().to(memory_format=torch.channels_last).eval(), _pair(side, side)[0][None]
    device = pick_device()

    def eager() -> torch.Tensor:
        with torch.no_grad():
            return plain(images.to(device))

    def fast(precision: str = best_precision(device)) -> torch.Tensor:
        return predict(ours, images, autocast(device, precision))

    assert (fast("float32").cpu() == eager().argmax(1).cpu()).float().mean() > 0.999
    with torch.inference_mode(), autocast(device, best_precision(device)):
        _assert_close(ours(images.to(device)).float(), eager(), 0.05)
    return {"plain": lambda: eager().argmax(1).cpu(), "ours": lambda: fast().cpu()}


def _matrix_rates(size: int = 2048) -> dict[str, float]:
    """GFLOP/s of a large matrix product, the best of five."""
    rates = {}
    for precision, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        matrix = torch.randn(size, size, device=pick_device()).to(dtype)
        seconds = timeit.repeat("float((m @ m)[0, 0])", globals={"m": matrix}, number=1, repeat=6)
        rates[precision] = 2 * size**3 / min(seconds) / 1e9
    return rates


def _memory(side: int) -> dict[str, Any]:
    """Bytes that two training steps add to a fresh process, or take on the GPU."""
    context, taken = multiprocessing.get_context("spawn"), {}
    for name in ("plain", "ours"):
        with ProcessPoolExecutor(1, context) as pool:
            work = pool.submit(_peak_of_steps, name, side, torch.get_num_threads())
            taken[name] = work.result()
    return {"bytes": taken, "ours / plain": taken["ours"] / taken["plain"]}


def _peak_of_steps(name: str, side: int, threads: int) -> int:
    torch.set_num_threads(threads)
    if name == "ours":
        keep_pages()
    files, before = _Files(side, side, 2), peak_memory()
    call = _PlainStep(files) if name == "plain" else _our_step(files)
    call(), call()
    return peak_memory() - before


# --- loader, metrics, occlusion ------------------------------------------------------------------


def _loader() -> dict[str, Callable]:
    """Eight images of a street scene's size, batches of one."""
    files = _Files(*STREET, 8)

    def plain() -> list[torch.Tensor]:
        return [files.decode(path)[0] for path in files.samples]

    def ours() -> list[torch.Tensor]:
        split = Split(files.samples, files.decode)
        each = ([number] for number in range(len(split)))
        return [images[0] for images, _, _ in split.batches(each, split.__getitem__)]

    assert all(map(torch.equal, ours(), plain()))
    return {"plain": plain, "ours": ours}


def _metrics(side: int) -> dict[str, Callable]:
    sklearn = import_module("sklearn.metrics")
    target = _pair(side, side)[1].numpy()
    noise = np.random.default_rng(0).random(target.shape) < 0.1
    prediction = np.where(noise, (target + 1) % CLASSES, target)

    def boundary() -> np.ndarray:  # as scikit-image's find_boundaries works
        cross = ndimage.generate_binary_structure(2, 1)
        filters = (ndimage.grey_dilation, ndimage.grey_erosion)
        dilated, eroded = (extreme(target, footprint=cross) for extreme in filters)
        return dilated != eroded

    def plain() -> tuple[np.ndarray, list[int]]:
        matrix = sklearn.confusion_matrix(target.ravel(), prediction.ravel(), labels=range(CLASSES))
        within = []
        for distance in DISTANCES:  # one region at a time, as an evaluation script asks for it
            region = ndimage.distance_transform_edt(~boundary()) <= distance
            within.append(int((prediction == target)[region].sum()))
        return matrix, within

    def ours() -> tuple[np.ndarray, list[int]]:
        counts = SegmentationCounts(CLASSES, DISTANCES)
        counts.update(prediction, target)
        return counts.confusion.matrix, [counts.boundary.counts()[f"{d}"][0] for d in DISTANCES]

    edge = boundary()
    assert all(map(np.array_equal, ours(), plain()))
    return {"plain": plain, "bare": lambda: ndimage.distance_transform_edt(~edge), "ours": ours}


def _occlusion(side: int, refine: bool) -> dict[str, Callable]:
    occlusion = import_module("captum.attr").Occlusion
    model, image, point = _model(refine).eval(), _pair(side, side)[0], (side // 2, side // 2)
    ours_model = _model(refine).to(memory_format=torch.channels_last)
    window, device = side // 4, pick_device()  # windows that do not overlap: captum's mean is ours
    class_id = receptive_field.predicted_class(model, image, point)

    def plain() -> torch.Tensor:
        grey = torch.tensor(receptive_field.MEAN_COLOUR, device=device).view(1, 3, 1, 1) / 255
        pixels = image[None].to(device) / 255
        score = occlusion(lambda images: model(images)[:, class_id, *point])
        windows = {"sliding_window_shapes": (3, window, window), "strides": (3, window, window)}
        with torch.no_grad():
            return score.attribute(pixels, **windows, baselines=grey.expand_as(pixels))[0, 0]

    def ours() -> torch.Tensor:
        options = (window, window, class_id)
        return receptive_field.occlusion_map(ours_model, image, point, *options, log=None)

    _assert_close(ours(), plain(), 1e-3)
    return {"plain": plain, "ours": ours}
