"""Name → data set: which samples, how they are read, and a fingerprint of exactly those bytes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcnlab.data import shapes, voc
from gcnlab.data.readers import class_map, read_image, read_label
from gcnlab.data.transforms import pad_to_square, random_flip, resize_long_side
from gcnlab.errors import UserError

MEMORY_LIMIT = 4 << 30  # bytes: a split that fits is decoded once and kept, a larger one is decoded as it is used


@dataclass(frozen=True)
class Source:
    """A segmentation data set: its splits, its classes, and where it comes from.

    ``train`` and ``val`` are what runs use; further splits are parts that a check counts.
    """

    splits: dict[str, Callable[[Path], list[voc.Sample]]]
    classes: tuple[str, ...]
    official_counts: dict[str, int]
    default_root: Callable[[], Path] | None = None  # generated data know their own place


_VOC_SPLITS = {
    "VOC train": lambda root: voc.voc_samples(root, "train"),
    "SBD": voc.sbd_samples,
    "train": voc.train_aug_samples,
    "val": lambda root: voc.voc_samples(root, "val"),
}


def _generated(sizes: shapes.Sizes) -> Source:
    # SBD lists one image of VOC train and one of VOC val besides its own, see shapes.write
    counts = {"VOC train": sizes.train, "SBD": sizes.extra + 2, "train": sizes.train + sizes.extra, "val": sizes.val}
    return Source(_VOC_SPLITS, shapes.CLASSES, counts, lambda: shapes.root(sizes))


# The counts of VOC are those of section 4 of the paper, of SBD those of its release; train is VOC train ∪ SBD − val.
SOURCES = {
    "voc": Source(_VOC_SPLITS, voc.CLASSES, {"VOC train": 1464, "SBD": 11355, "train": 10582, "val": 1449}),
    "shapes": _generated(shapes.FULL),
    "shapes-tiny": _generated(shapes.TINY),
}


@dataclass(frozen=True)
class DataSpec:
    """Which data a run uses and how they are prepared.

    Args:
        name: a name of ``SOURCES`` (segmentation) or ``imagenet:<name>`` (its single-object classification twin).
        side: images are padded to ``side`` × ``side`` pixels.
        long_side: scale the longer image side to this many pixels first; None keeps the size.
        classes: ids to score, renumbered 0, 1, …; all others become void. None keeps every class.
    """

    name: str
    side: int
    long_side: int | None = None
    classes: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.name.removeprefix("imagenet:") not in SOURCES:
            raise UserError(f"unknown data set {self.name!r}; choose one of {', '.join(SOURCES)}")

    @property
    def is_classification(self) -> bool:
        return self.name.startswith("imagenet:")

    @property
    def source(self) -> Source:
        return SOURCES[self.name.removeprefix("imagenet:")]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the scored classes, in the order of the model's outputs."""
        names = self.source.classes
        if self.is_classification:
            return names[1:]
        return names if self.classes is None else tuple(names[c] for c in self.classes)

    def root(self, data_root: Path | None) -> Path:
        """The folder to read: generated data know theirs, real data need ``--data-root``."""
        if self.source.default_root is not None:
            return self.source.default_root()
        if data_root is None:
            raise UserError(f"data set {self.name!r} needs --data-root DIR, the folder that holds VOCdevkit/ and "
                            "benchmark_RELEASE/")  # fmt: skip
        return data_root


class Split:
    """One split, prepared: ``split[i]`` → image (3, S, S) uint8, label, and the unpadded (height, width).

    The label is a map (S, S) uint8 of class ids with 255 = void, or a class id for classification data. A split of
    up to ``MEMORY_LIMIT`` bytes is decoded at once, with every file checked; a larger one as it is used.
    """

    def __init__(self, samples: Sequence, decode: Callable):
        if not samples:
            raise UserError("the data set has an empty list of images: check its list files")
        self.samples = samples
        self._decode = decode
        image, label, _ = decode(samples[0])
        self._kept = None
        if (image.nbytes + label.nbytes) * len(samples) <= MEMORY_LIMIT:
            with ThreadPoolExecutor() as pool:
                self._kept = list(pool.map(decode, samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
        return self._decode(self.samples[index]) if self._kept is None else self._kept[index]

    def check(self) -> None:
        """Raise ``UserError`` for the first damaged file; what is kept in memory has been read already."""
        if self._kept is None:
            with ThreadPoolExecutor() as pool:
                for _ in pool.map(lambda sample: self._decode(sample) and None, self.samples):
                    pass

    def batches(self, indices: Iterator[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor, list[tuple[int, int]]]]:
        """Stacked batches for a stream of index lists, decoded one batch ahead in a thread."""

        def collate(batch: Sequence[int]):
            images, labels, sizes = zip(*(self[i] for i in batch), strict=True)
            return torch.stack(images), torch.stack(labels), list(sizes)

        with ThreadPoolExecutor(1) as pool:
            waiting = None
            for batch in indices:
                coming = pool.submit(collate, batch)
                if waiting is not None:
                    yield waiting.result()
                waiting = coming
            if waiting is not None:
                yield waiting.result()

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor, list[tuple[int, int]]]]:
        """All samples once, in order, for evaluation."""
        starts = range(0, len(self), batch_size)
        return self.batches(iter([range(s, min(s + batch_size, len(self))) for s in starts]))

    def shuffled(self, batch_size: int, seed: int, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Training batches ``first`` … ``last`` − 1: shuffled anew every epoch and flipped left–right at random.

        Batch i is a function of (seed, i) alone, so that a resumed run sees exactly the data it would have seen.
        """

        @lru_cache(maxsize=2)
        def order(epoch: int) -> list[int]:
            generator = torch.Generator().manual_seed(hash_seed(seed, epoch, 0))
            return torch.randperm(len(self), generator=generator).tolist()

        def indices(step: int) -> list[int]:
            positions = range(step * batch_size, (step + 1) * batch_size)
            return [order(p // len(self))[p % len(self)] for p in positions]

        steps = range(first, last)
        for step, (images, labels, _) in zip(steps, self.batches(indices(s) for s in steps), strict=True):
            yield random_flip(images, labels, torch.Generator().manual_seed(hash_seed(seed, step, 1)))


def hash_seed(*parts: int) -> int:
    """A 63-bit seed from several integers, so that neighbouring seeds and steps share no random stream."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def _decode_segmentation(spec: DataSpec) -> Callable:
    table = class_map(spec.classes)
    num_classes = len(spec.source.classes)

    def decode(sample: voc.Sample) -> tuple[Tensor, Tensor, tuple[int, int]]:
        image, label = read_image(sample.image), read_label(sample.label, num_classes)
        if image.size != label.shape[::-1]:
            raise UserError(f"{sample.label} is {label.shape[1]}×{label.shape[0]} but {sample.image.name} is "
                            f"{image.size[0]}×{image.size[1]}: image and label must match")  # fmt: skip
        if spec.long_side is not None:
            image, label = resize_long_side(image, label, spec.long_side)
        if max(label.shape) > spec.side:
            raise UserError(f"{sample.image} is {image.size[0]}×{image.size[1]}, larger than the {spec.side}-pixel "
                            "input of this profile: use images that fit, or a profile that scales")  # fmt: skip
        size = label.shape
        pixels, label = pad_to_square(np.asarray(image), table[label], spec.side)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), torch.from_numpy(label), size

    return decode


def _classification_samples(folder: Path) -> list[tuple[Path, int]]:
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: expected one folder of images per class in it")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return [(path, i) for i, name in enumerate(classes) for path in sorted((folder / name).iterdir())]


def _decode_classification(spec: DataSpec) -> Callable:
    def decode(sample: tuple[Path, int]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        image = np.asarray(read_image(sample[0]))
        pixels, _ = pad_to_square(image, np.zeros(image.shape[:2], np.uint8), spec.side)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), torch.tensor(sample[1]), image.shape[:2]

    return decode


@cache
def samples(spec: DataSpec, split: str, data_root: Path | None = None) -> list:
    """The samples of ``split`` (``train`` or ``val``) as listed on disk, not yet read."""
    root = spec.root(data_root)
    if spec.is_classification:
        return _classification_samples(root / "imagenet" / split)
    return spec.source.splits[split](root)


@lru_cache(maxsize=4)
def load(spec: DataSpec, split: str, data_root: Path | None = None) -> Split:
    """The prepared ``split`` (``train`` or ``val``); kept, so that several runs in one process decode once."""
    decode = _decode_classification(spec) if spec.is_classification else _decode_segmentation(spec)
    return Split(samples(spec, split, data_root), decode)


@cache
def fingerprint(spec: DataSpec, data_root: Path | None = None) -> str:
    """A digest of the names and bytes of every image and label of both splits."""
    digest = hashlib.blake2b(digest_size=8)
    for split in ("train", "val"):
        for sample in samples(spec, split, data_root):
            files = (sample[0],) if spec.is_classification else (sample.image, sample.label)
            for path in files:
                try:
                    content = path.read_bytes()
                except OSError as error:
                    raise UserError(f"{path} cannot be read ({error.strerror}): complete the data set") from None
                digest.update(f"{split} {path.parent.name}/{path.name} {len(content)}\n".encode())
                digest.update(content)
    return digest.hexdigest()


def counts(spec: DataSpec, data_root: Path | None = None) -> dict[str, int]:
    """Images per split."""
    return {split: len(samples(spec, split, data_root)) for split in ("train", "val")}


def is_subset(spec: DataSpec, data_root: Path | None = None) -> bool:
    """Whether a segmentation split has fewer images than the official release or not all classes are scored."""
    if spec.is_classification:
        return False
    official = spec.source.official_counts
    return spec.classes is not None or any(n != official[s] for s, n in counts(spec, data_root).items())
