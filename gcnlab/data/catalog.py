"""Name → data set: which samples, how they are read, and a fingerprint of exactly those files."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcnlab.data.readers import Sample, class_map, read_image
from gcnlab.data.sources import SOURCES, ClassFolders, Source, classification_samples
from gcnlab.data.transforms import centre_crop, crop_part, pad, random_crop, random_flip, resize_long_side
from gcnlab.errors import UserError

MEMORY_LIMIT = 4 << 30  # bytes: a split that fits is decoded once and kept, a larger one is decoded as it is used
LARGE = 100_000  # images: beyond, files are not read before the work starts; names and sizes are all that is checked


@dataclass(frozen=True)
class DataSpec:
    """Which data a run uses and how they are prepared.

    Args:
        name: a name of ``SOURCES``.
        side: images are padded to ``side`` × ``side`` pixels, or to a width of ``side`` and a height of ``height``.
        height: None: as ``side``.
        images: train on so many images only, evenly spaced over the list.
        crop: segmentation only: training takes random crops of ``crop`` × ``crop`` pixels.
        long_side: scale the longer image side to this many pixels first; None keeps the size.
        classes: ids to score, renumbered 0, 1, …; all others become void. None keeps every class.
        resize: classification only: scale the shorter image side to this and cut out the centre, for evaluation.
        crop_area: with ``resize``: the least share of its area that a random training crop keeps (0.08 in the
            classical recipe).
    """

    name: str
    side: int
    long_side: int | None = None
    classes: tuple[int, ...] | None = None
    resize: int | None = None
    crop_area: float | None = None
    height: int | None = None
    crop: int | None = None
    images: int | None = None

    def __post_init__(self):
        if self.name not in SOURCES:
            raise UserError(f"unknown data set {self.name!r}; choose one of {', '.join(SOURCES)}")
        if (self.resize is None) != (self.crop_area is None):
            raise UserError("resize and crop_area belong together: set both or none")
        if self.crop is not None and self.crop > min(self.canvas):
            raise UserError(f"crop {self.crop} does not fit into {self.canvas[1]}×{self.canvas[0]} pixels")

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) to which images are padded."""
        return self.height or self.side, self.side

    @property
    def is_classification(self) -> bool:
        return isinstance(self.source, ClassFolders)

    @property
    def source(self) -> Source | ClassFolders:
        return SOURCES[self.name]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the scored classes, in the order of the model's outputs."""
        names = self.source.classes
        return names if self.classes is None else tuple(names[c] for c in self.classes)

    def root(self, data_root: Path | None) -> Path:
        """The folder to read: generated data know theirs, real data need ``--data-root``."""
        if self.source.default_root is not None:
            return self.source.default_root()
        if data_root is None:
            raise UserError(f"data set {self.name!r} needs --data-root DIR, the folder that holds {self.source.holds}")
        return data_root


class Split:
    """One split, prepared: ``split[i]`` → image (3, H, W) uint8, label, and the unpadded (height, width).

    The label is a map (H, W) uint8 of class ids with 255 = void, or a class id for classification data. A split of
    up to ``MEMORY_LIMIT`` bytes is decoded at once, with every file checked; a larger one as it is used.

    Args:
        decode: sample → image, label, size.
        evaluation: what is done to a decoded image when it is evaluated; None leaves it as it is.
        training: what is done to a decoded image and its label when it is trained on, with a generator of random
            numbers.
    """

    def __init__(
        self,
        samples: Sequence,
        decode: Callable,
        evaluation: Callable[[Tensor], Tensor] | None = None,
        training: Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]] | None = None,
    ):
        if not samples:
            raise UserError("the data set has an empty list of images: check its list files")
        self.samples = samples
        self._decode, self._evaluation, self._training = decode, evaluation, training
        image, label, _ = decode(samples[0])
        self._kept = None
        if (image.nbytes + label.nbytes) * len(samples) <= MEMORY_LIMIT:
            with ThreadPoolExecutor() as pool:
                self._kept = list(pool.map(decode, samples))

    def __len__(self) -> int:
        return len(self.samples)

    def _decoded(self, index: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
        return self._decode(self.samples[index]) if self._kept is None else self._kept[index]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
        image, label, size = self._decoded(index)
        return (image if self._evaluation is None else self._evaluation(image)), label, size

    def check(self) -> None:
        """Raise ``UserError`` for the first damaged file; what is kept in memory has been read already.

        More than ``LARGE`` files are not read: a damaged one then stops the run that meets it, by name.
        """
        if self._kept is None and len(self) <= LARGE:
            with ThreadPoolExecutor() as pool:
                for _ in pool.map(lambda sample: self._decode(sample) and None, self.samples):
                    pass

    def batches(
        self, numbers: Iterator[Sequence[int]], item: Callable[[int], tuple]
    ) -> Iterator[tuple[Tensor, Tensor, list[tuple[int, int]]]]:
        """Stacked batches of ``item(number)`` for a stream of number lists, made one batch ahead in threads."""

        def collate(batch: Sequence[int]):
            images, labels, sizes = zip(*(map if readers is None else readers.map)(item, batch), strict=True)
            return torch.stack(images), torch.stack(labels), list(sizes)

        with ExitStack() as stack:
            # Decoding leaves Python's lock alone, so threads serve; what is in memory needs none.
            readers = stack.enter_context(ThreadPoolExecutor()) if self._kept is None else None
            ahead = stack.enter_context(ThreadPoolExecutor(1))
            waiting = None
            for batch in numbers:
                coming = ahead.submit(collate, batch)
                if waiting is not None:
                    yield waiting.result()
                waiting = coming
            if waiting is not None:
                yield waiting.result()

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor, list[tuple[int, int]]]]:
        """All samples once, in order, for evaluation."""
        starts = range(0, len(self), batch_size)
        return self.batches(iter([range(s, min(s + batch_size, len(self))) for s in starts]), self.__getitem__)

    def shuffled(self, batch_size: int, seed: int, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Training batches ``first`` … ``last`` − 1: shuffled anew every epoch and flipped left–right at random.

        Batch i is a function of (seed, i) alone, so that a resumed run sees exactly the data it would have seen.
        """

        @lru_cache(maxsize=2)
        def order(epoch: int) -> list[int]:
            generator = torch.Generator().manual_seed(hash_seed(seed, epoch, 0))
            return torch.randperm(len(self), generator=generator).tolist()

        def item(position: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
            image, label, size = self._decoded(order(position // len(self))[position % len(self)])
            if self._training is not None:
                generator = torch.Generator().manual_seed(hash_seed(seed, position, 2))
                image, label = self._training(image, label, generator)
            return image, label, size

        def positions(step: int) -> range:
            ahead = range(step * batch_size, (step + 1) * batch_size)
            order(ahead[0] // len(self)), order(ahead[-1] // len(self))  # here, not once in every reader thread
            return ahead

        steps = range(first, last)
        for step, (images, labels, _) in zip(steps, self.batches(map(positions, steps), item), strict=True):
            yield random_flip(images, labels, torch.Generator().manual_seed(hash_seed(seed, step, 1)))


def hash_seed(*parts: int) -> int:
    """A 63-bit seed from several integers, so that neighbouring seeds and steps share no random stream."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def _decode_segmentation(spec: DataSpec) -> Callable:
    table = class_map(spec.classes)
    num_classes = len(spec.source.classes)
    height, width = spec.canvas

    def decode(sample: Sample) -> tuple[Tensor, Tensor, tuple[int, int]]:
        image, label = read_image(sample.image), sample.read_label(num_classes)
        check_pair(spec.source, sample, image.size, label.shape[::-1])
        if spec.long_side is not None:
            image, label = resize_long_side(image, label, spec.long_side)
        size = label.shape
        if size[0] > height or size[1] > width:
            raise UserError(f"{sample.image} is {image.size[0]}×{image.size[1]}, larger than the {width}×{height} "
                            "pixels of this profile: use images that fit, or a profile that scales")  # fmt: skip
        pixels, label = pad(np.asarray(image), table[label], height, width)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), torch.from_numpy(label), size

    return decode


def check_pair(source: Source, sample: Sample, image: tuple[int, int], label: tuple[int, int]) -> None:
    """Raise ``UserError`` unless image and label have one (width, height), and that which ``source`` asks for."""
    if image != label:
        raise UserError(f"{sample.label} is {label[0]}×{label[1]} but {sample.image.name} is "
                        f"{image[0]}×{image[1]}: image and label must match")  # fmt: skip
    if source.size is not None and image != source.size:
        raise UserError(f"{sample.image} is {image[0]}×{image[1]}, not {source.size[0]}×{source.size[1]}: "
                        "use the images of that size")  # fmt: skip


def _decode_classification(spec: DataSpec) -> Callable:
    def decode(sample: tuple[Path, int]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        pixels = np.asarray(read_image(sample[0]))
        size = pixels.shape[:2]
        if spec.resize is None:
            pixels, _ = pad(pixels, np.zeros(size, np.uint8), *spec.canvas)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), torch.tensor(sample[1]), size

    return decode


@cache
def samples(spec: DataSpec, split: str, data_root: Path | None = None) -> list:
    """The samples of ``split`` (``train`` or ``val``) as listed on disk, not yet read."""
    root = spec.root(data_root)
    if spec.is_classification:
        found = classification_samples(spec.source, root / spec.source.folder, split)
    elif split in spec.source.splits:
        found = spec.source.splits[split](root)
    else:
        raise UserError(f"data set {spec.name!r} has no {split} split: it is a part of others, not to be run alone")
    if spec.images is None or split != "train":
        return found
    if spec.images > len(found):
        raise UserError(f"data set {spec.name!r} has {len(found)} training images, not {spec.images}")
    return [found[i * len(found) // spec.images] for i in range(spec.images)]


@lru_cache(maxsize=4)
def load(spec: DataSpec, split: str, data_root: Path | None = None) -> Split:
    """The prepared ``split`` (``train`` or ``val``); kept, so that several runs in one process decode once."""
    found = samples(spec, split, data_root)
    if not spec.is_classification:
        cropped = None if spec.crop is None else partial(crop_part, side=spec.crop)
        return Split(found, _decode_segmentation(spec), training=cropped)
    if spec.resize is None:
        return Split(found, _decode_classification(spec))
    return Split(
        found,
        _decode_classification(spec),
        lambda image: centre_crop(image, spec.resize, spec.side),
        lambda image, label, generator: (random_crop(image, spec.side, spec.crop_area, generator), label),
    )


@cache
def fingerprint(spec: DataSpec, data_root: Path | None = None) -> str:
    """A digest of the names, sizes and bytes of every image and label of both splits.

    Of a split of more than ``LARGE`` images it is names and sizes only: reading ImageNet takes many minutes.
    """
    digest = hashlib.blake2b(digest_size=8)
    for split in ("train", "val"):
        if not spec.is_classification and split not in spec.source.splits:
            continue  # a set that is only a part of others
        found = samples(spec, split, data_root)
        for sample in found:
            for path in (sample[0],) if spec.is_classification else sample.files:
                try:
                    content = path.read_bytes() if len(found) <= LARGE else b""
                    size = len(content) or path.stat().st_size
                except OSError as error:
                    raise UserError(f"{path} cannot be read ({error.strerror}): complete the data set") from None
                digest.update(f"{split} {path.parent.name}/{path.name} {size}\n".encode())
                digest.update(content)
            digest.update(b"" if spec.is_classification else sample.annotation)
    return digest.hexdigest()


def counts(spec: DataSpec, data_root: Path | None = None) -> dict[str, int]:
    """Images per split."""
    return {split: len(samples(spec, split, data_root)) for split in ("train", "val")}


def is_subset(spec: DataSpec, counts: Mapping[str, int]) -> bool:
    """Whether ``counts`` are fewer images than the official release has, or not all of its classes are scored.

    Generated data score the classes that are drawn, and lack none by that.
    """
    some_classes = spec.classes is not None and spec.source.default_root is None
    return some_classes or any(n < spec.source.official_counts[split] for split, n in counts.items())
