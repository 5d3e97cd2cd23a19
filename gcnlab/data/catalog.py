"""A specification's samples, its prepared splits, and a fingerprint of exactly those files."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path

from gcnlab.data.decode import decode_classification, decode_segmentation
from gcnlab.data.readers import reading
from gcnlab.data.spec import DataSpec
from gcnlab.data.split import LARGE, Split
from gcnlab.data.synthetic.cache import COMMITTED, check_drawn
from gcnlab.data.transforms import centre_crop, crop_part, random_crop
from gcnlab.errors import UserError

HELD_OUT = 5  # with ``holdout`` one training image in so many is held out
EVALUATION_PIXELS = 1 << 19  # in a batch: beyond, memory grows and speed does not
SPLITS = ("train", "val")


@cache
def samples(spec: DataSpec, split: str, data_root: Path | None = None) -> list:
    """The samples of ``split`` (``train`` or ``val``) as listed on disk, not yet read."""
    listed = spec.source.samples(spec.root(data_root), "train" if spec.holdout else split)
    if spec.holdout:
        listed = [s for i, s in enumerate(listed) if (i % HELD_OUT == 0) == (split == "val")]
    if spec.images is None or split != "train":
        return listed
    if spec.images > len(listed):
        have = f"{len(listed)} training images"
        raise UserError(f"data set {spec.name!r} has {have}: use at most that, not {spec.images}")
    return [listed[i * len(listed) // spec.images] for i in range(spec.images)]


@lru_cache(maxsize=4)
def load(spec: DataSpec, split: str, data_root: Path | None = None) -> Split:
    """The prepared ``split`` (``train`` or ``val``), not yet read; one for all runs of a process.

    Raises ``UserError`` if it is not on disk or has no images.
    """
    listed = samples(spec, split, data_root)
    if not spec.is_classification:
        spec = spec.for_validation if split == "val" else spec
        cropped = None if spec.crop is None else partial(crop_part, side=spec.crop)
        return Split(listed, partial(decode_segmentation, spec), training=cropped)
    decode = partial(decode_classification, spec)
    if spec.resize is None:
        return Split(listed, decode)
    middle = partial(centre_crop, resize=spec.resize, side=spec.side)
    part = partial(random_crop, side=spec.side, least_area=spec.crop_area)
    return Split(listed, decode, middle, lambda x, y, g: (part(x, generator=g), y))


def evaluation_batch_size(spec: DataSpec) -> int:
    """Images per batch when scores are computed: about half a million pixels, 1 … 64 images."""
    height, width = spec.canvas
    return min(64, max(1, EVALUATION_PIXELS // (height * width)))


@cache
def fingerprint(spec: DataSpec, data_root: Path | None = None) -> str:
    """16 hex digits from the names, sizes and bytes of every image and label of both splits.

    Of more than ``LARGE`` images it is names and sizes only: reading ImageNet takes many minutes.
    ``UserError`` if a file is missing, or drawn data were altered (see ``synthetic/cache.py``).
    """
    whole = DataSpec(spec.name, side=1)
    part = replace(whole, images=spec.images, holdout=spec.holdout)
    if spec != part:
        return fingerprint(part, data_root)
    committed = COMMITTED.get(spec.name)
    if committed and spec != whole:
        fingerprint(whole)
    try:
        digest = _digest(spec, data_root)
    except UserError:
        if committed:
            check_drawn()  # whose remedy is another
        raise
    if spec == whole and committed not in (None, digest):
        check_drawn()
    return digest


def _digest(spec: DataSpec, data_root: Path | None) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for split in SPLITS:
        if not spec.holdout and split not in spec.source.splits:
            continue  # a set that is only a part of others
        listed = samples(spec, split, data_root)
        for sample in listed:
            for path in (sample[0],) if spec.is_classification else sample.files:
                with reading(path, "data"):
                    content = path.read_bytes() if len(listed) <= LARGE else b""
                    size = len(content) or path.stat().st_size
                digest.update(f"{split} {path.parent.name}/{path.name} {size}\n".encode())
                digest.update(content)
            digest.update(b"" if spec.is_classification else sample.annotation)
    return digest.hexdigest()


def counts(spec: DataSpec, data_root: Path | None = None) -> dict[str, int]:
    """Images per split."""
    return {split: len(samples(spec, split, data_root)) for split in SPLITS}


def is_subset(spec: DataSpec, counts: Mapping[str, int]) -> bool:
    """Whether ``counts`` are fewer images than officially, or not all classes are scored.

    Synthetic data score the classes that are drawn, and lack none by that.
    """
    some_classes = spec.classes is not None and spec.source.default_root is None
    official = spec.source.official_counts
    return some_classes or any(n < official[split] for split, n in counts.items())
