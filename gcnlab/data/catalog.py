"""Name → data set: which samples, how they are read, and a fingerprint of exactly those files."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gcnlab.data import shapes, voc
from gcnlab.data.readers import class_map, read_image, read_label, read_list
from gcnlab.data.transforms import centre_crop, pad_to_square, random_crop, random_flip, resize_long_side
from gcnlab.errors import UserError

MEMORY_LIMIT = 4 << 30  # bytes: a split that fits is decoded once and kept, a larger one is decoded as it is used
LARGE = 100_000  # images: beyond, files are not read before the work starts; names and sizes are all that is checked


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


@dataclass(frozen=True)
class ClassFolders:
    """A classification data set in the ImageNet layout: ``<root>/<folder>/{train,val}/<class>/<image>``.

    Tiny-ImageNet's own layout is read too: ``train/<class>/images/<image>``, ``val/images/<image>`` and
    ``val/val_annotations.txt``.
    """

    folder: str
    classes: tuple[str, ...]
    official_counts: dict[str, int]
    default_root: Callable[[], Path] | None = None


def _generated(name: str, sizes: shapes.Sizes) -> dict[str, Source | ClassFolders]:
    """The embedded segmentation data, and the single shapes that stand in for ImageNet."""
    # SBD lists one image of VOC train and one of VOC val besides its own, see shapes.write
    counts = {"VOC train": sizes.train, "SBD": sizes.extra + 2, "train": sizes.train + sizes.extra, "val": sizes.val}
    singles = {"train": sizes.single_train, "val": sizes.single_val}
    return {
        name: Source(_VOC_SPLITS, shapes.CLASSES, counts, lambda: shapes.root(sizes)),
        f"imagenet:{name}": ClassFolders("imagenet", shapes.CLASSES[1:], singles, lambda: shapes.root(sizes)),
    }


# The counts of VOC are those of section 4 of the paper, of SBD those of its release; train is VOC train ∪ SBD − val.
SOURCES: dict[str, Source | ClassFolders] = {
    "voc": Source(_VOC_SPLITS, voc.CLASSES, {"VOC train": 1464, "SBD": 11355, "train": 10582, "val": 1449}),
    "imagenet": ClassFolders("imagenet", tuple(map(str, range(1000))), {"train": 1_281_167, "val": 50_000}),
    "tiny-imagenet": ClassFolders("tiny-imagenet", tuple(map(str, range(200))), {"train": 100_000, "val": 10_000}),
    **_generated("shapes", shapes.FULL),
    **_generated("shapes-tiny", shapes.TINY),
}


@dataclass(frozen=True)
class DataSpec:
    """Which data a run uses and how they are prepared.

    Args:
        name: a name of ``SOURCES``.
        side: images are padded, or cropped, to ``side`` × ``side`` pixels.
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

    def __post_init__(self):
        if self.name not in SOURCES:
            raise UserError(f"unknown data set {self.name!r}; choose one of {', '.join(SOURCES)}")
        if (self.resize is None) != (self.crop_area is None):
            raise UserError("resize and crop_area belong together: set both or none")

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
            holds = f"{self.source.folder}/" if self.is_classification else "VOCdevkit/ and benchmark_RELEASE/"
            raise UserError(f"data set {self.name!r} needs --data-root DIR, the folder that holds {holds}")
        return data_root


class Split:
    """One split, prepared: ``split[i]`` → image (3, S, S) uint8, label, and the unpadded (height, width).

    The label is a map (S, S) uint8 of class ids with 255 = void, or a class id for classification data. A split of
    up to ``MEMORY_LIMIT`` bytes is decoded at once, with every file checked; a larger one as it is used.

    Args:
        decode: sample → image, label, size.
        evaluation, training: what is done to a decoded image when it is evaluated, or trained on (with a generator
            of random numbers); None leaves it as it is.
    """

    def __init__(
        self,
        samples: Sequence,
        decode: Callable,
        evaluation: Callable[[Tensor], Tensor] | None = None,
        training: Callable[[Tensor, torch.Generator], Tensor] | None = None,
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
                image = self._training(image, torch.Generator().manual_seed(hash_seed(seed, position, 2)))
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


def _classification_samples(source: ClassFolders, folder: Path, split: str) -> list[tuple[Path, int]]:
    """(image, class) in order; classes are numbered by their sorted names in the training split."""
    layout = f"expected {folder.name}/{split}/<class>/<image>"

    def entries(place: Path, folders: bool) -> list[str]:
        if not place.is_dir():
            raise UserError(f"{place} is missing: {layout}")
        with os.scandir(place) as found:  # far faster than pathlib for a million files
            return sorted(e.name for e in found if not e.name.startswith(".") and e.is_dir() == folders)

    classes = entries(folder / "train", folders=True)
    if len(classes) != len(source.classes):
        raise UserError(f"{folder / 'train'} has {len(classes)} class folders, not {len(source.classes)}: {layout}")
    annotations = folder / split / "val_annotations.txt"
    if annotations.is_file():
        number = {name: i for i, name in enumerate(classes)}
        lines = [line.split("\t")[:2] for line in read_list(annotations, layout)]
        unknown = [line[-1] for line in lines if line[-1] not in number]
        if unknown:
            raise UserError(f"{annotations} names the class {unknown[0]!r}, which {folder / 'train'} does not have")
        return [(folder / split / "images" / image, number[name]) for image, name in lines]
    different = set(entries(folder / split, folders=True)) ^ set(classes)
    if different:
        raise UserError(
            f"the class {min(different)!r} is in only one of {folder / 'train'} and {folder / split}: {layout}"
        )
    found = []
    for i, name in enumerate(classes):
        place = folder / split / name
        place = place / "images" if (place / "images").is_dir() else place
        found += [(place / file, i) for file in entries(place, folders=False)]
    return found


def _decode_classification(spec: DataSpec) -> Callable:
    def decode(sample: tuple[Path, int]) -> tuple[Tensor, Tensor, tuple[int, int]]:
        pixels = np.asarray(read_image(sample[0]))
        size = pixels.shape[:2]
        if spec.resize is None:
            pixels, _ = pad_to_square(pixels, np.zeros(size, np.uint8), spec.side)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), torch.tensor(sample[1]), size

    return decode


@cache
def samples(spec: DataSpec, split: str, data_root: Path | None = None) -> list:
    """The samples of ``split`` (``train`` or ``val``) as listed on disk, not yet read."""
    root = spec.root(data_root)
    if spec.is_classification:
        return _classification_samples(spec.source, root / spec.source.folder, split)
    return spec.source.splits[split](root)


@lru_cache(maxsize=4)
def load(spec: DataSpec, split: str, data_root: Path | None = None) -> Split:
    """The prepared ``split`` (``train`` or ``val``); kept, so that several runs in one process decode once."""
    found = samples(spec, split, data_root)
    if not spec.is_classification:
        return Split(found, _decode_segmentation(spec))
    if spec.resize is None:
        return Split(found, _decode_classification(spec))
    return Split(
        found,
        _decode_classification(spec),
        lambda image: centre_crop(image, spec.resize, spec.side),
        lambda image, generator: random_crop(image, spec.side, spec.crop_area, generator),
    )


@cache
def fingerprint(spec: DataSpec, data_root: Path | None = None) -> str:
    """A digest of the names, sizes and bytes of every image and label of both splits.

    Of a split of more than ``LARGE`` images it is names and sizes only: reading ImageNet takes many minutes.
    """
    digest = hashlib.blake2b(digest_size=8)
    for split in ("train", "val"):
        found = samples(spec, split, data_root)
        for sample in found:
            files = (sample[0],) if spec.is_classification else (sample.image, sample.label)
            for path in files:
                try:
                    content = path.read_bytes() if len(found) <= LARGE else b""
                    size = len(content) or path.stat().st_size
                except OSError as error:
                    raise UserError(f"{path} cannot be read ({error.strerror}): complete the data set") from None
                digest.update(f"{split} {path.parent.name}/{path.name} {size}\n".encode())
                digest.update(content)
    return digest.hexdigest()


def counts(spec: DataSpec, data_root: Path | None = None) -> dict[str, int]:
    """Images per split."""
    return {split: len(samples(spec, split, data_root)) for split in ("train", "val")}


def is_subset(spec: DataSpec, data_root: Path | None = None) -> bool:
    """Whether a split has fewer images than the official release or not all classes are scored."""
    official = spec.source.official_counts
    return spec.classes is not None or any(n != official[s] for s, n in counts(spec, data_root).items())
