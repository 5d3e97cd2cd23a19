"""Is this data set complete? Layout, counts, label values, overlap of splits, fingerprint."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gcnlab.data.catalog import fingerprint
from gcnlab.data.decode import read_pair
from gcnlab.data.readers import Sample, read_image
from gcnlab.data.source import Source
from gcnlab.data.sources import SOURCES
from gcnlab.data.spec import DataSpec
from gcnlab.data.synthetic.cache import COMMITTED
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError


def check(name: str, data_root: Path | None = None) -> dict[str, Any]:
    """Read every image and label of data set ``name``.

    Returns:
        ``name``; ``root``; ``splits`` (images on disk and official count of each); ``complete`` (no
        count is lower); ``unused`` (images of COCO that show no object of the classes); ``test``
        (images without labels, if the set has a test server); ``overlap`` (names in train and val;
        of classification data, files with the same bytes); ``largest`` (longest image side in
        pixels); ``fingerprint``; of synthetic data ``as_committed`` (they are those behind the
        committed records). Of segmentation data also ``left_out`` (names of SBD that are in val and
        so not in train) and ``labels`` (pixels per label value over train and val); of
        classification data ``per_class`` (images of each split's smallest and largest class).

    Raises:
        UserError: unknown name, missing folder or list, or the first file that is missing, damaged
            or no label.
    """
    spec = DataSpec(name, side=1)
    source, root = spec.source, spec.root(data_root)
    known = fingerprint(spec, data_root)  # first: of altered drawn data it says so
    listed = {split: source.samples(root, split) for split in source.splits}
    splits = {s: {"images": len(listed[s]), "official": n}
              for s, n in source.official_counts.items()}  # fmt: skip
    complete = all(entry["images"] >= entry["official"] for entry in splits.values())
    report = {"name": name, "root": str(root), "splits": splits, "complete": complete}
    report["fingerprint"] = known
    if name in COMMITTED:
        report["as_committed"] = known == COMMITTED[name]
    if source.unused:
        report["unused"] = source.unused(root)
    if source.test:
        report["test"] = {"images": 0, "official": source.official_test}
        with suppress(UserError):  # not needed for any table
            report["test"]["images"] = len(source.test(root))
    for split in splits:
        if not listed[split]:
            problem = f"the {split} split has no images (of these classes)"
            raise UserError(f"{problem}: check its lists and folders")
    details = _classes if source.is_classification else _labels
    return report | details(source, listed)


def _read_all(read: Callable, samples: Iterable) -> Iterator:
    """``read(sample)`` of each sample, in order, in threads."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(read, samples)


def _classes(source: Source, listed: dict[str, list]) -> dict[str, Any]:
    def read(sample: tuple[Path, int]) -> tuple[int, bytes, str]:
        path, _ = sample
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        return max(read_image(path).size), digest, f"{path.parent.name}/{path.name}"

    train, val = (list(_read_all(read, listed[split])) for split in ("train", "val"))
    shared = {content for _, content, _ in train} & {content for _, content, _ in val}
    per_class = {}
    for split, samples in listed.items():
        sizes = np.bincount([label for _, label in samples], minlength=len(source.classes))
        per_class[split] = [int(sizes.min()), int(sizes.max())]
    overlap = sorted(name for _, content, name in train if content in shared)
    largest = max(size for size, _, _ in train + val)
    return {"overlap": overlap, "largest": largest, "per_class": per_class}


def _labels(source: Source, listed: dict[str, list]) -> dict[str, Any]:
    def read(sample: Sample) -> tuple[np.ndarray, int]:
        image, label = read_pair(source, sample)
        return np.bincount(label.ravel(), minlength=256), max(image.size)

    pixels, largest = np.zeros(256, np.int64), 0
    for counts, side in _read_all(read, listed["train"] + listed.get("val", [])):
        pixels, largest = pixels + counts, max(largest, side)
    names = {split: {sample.name for sample in samples} for split, samples in listed.items()}
    return {
        "overlap": sorted(names["train"] & names.get("val", set())),
        "left_out": sorted(names["SBD"] & names["val"]) if "SBD" in names else None,
        "labels": {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)},
        "largest": largest,
    }


def describe(report: dict[str, Any]) -> str:
    """A check's result for reading."""
    source = SOURCES[report["name"]]
    lines = [f"{report['name']} at {report['root']}"]
    for split, entry in report["splits"].items():
        images, official = entry["images"], entry["official"]
        verdict = "complete" if images == official else f"{images - official} more"
        verdict = "a subset: results will say so" if images < official else verdict
        lines.append(f"  {split:<9} {images:>6} images of {official} {source.official}: {verdict}")
    if "unused" in report:
        why = "because no single object of the classes is on them"
        lines.append(f"  not used of COCO, {why}: {report['unused']} images")
    if "test" in report:
        of = f"of {report['test']['official']} official, without labels"
        lines.append(f"  test      {report['test']['images']:>6} images {of}")
    if "val" in report["splits"]:
        lines.append(f"  overlap of train and val: {', '.join(report['overlap'][:5]) or 'none'}")
    if "per_class" in report:
        sizes = ", ".join(f"{s} {low} … {high}" for s, (low, high) in report["per_class"].items())
        largest = f"largest side {report['largest']} pixels"
        lines.append(f"  {len(source.classes)} classes; {largest}; images per class: {sizes}")
    else:
        lines += _label_lines(report, source.classes)
    drawn = ""
    if "as_committed" in report:
        other = ", not those of the committed study: other libraries draw other bytes here, and"
        other += " the tables take no record of both"
        drawn = ", as of the committed study" if report["as_committed"] else other
    return "\n".join([*lines, f"  fingerprint {report['fingerprint']}{drawn}"])


def _label_lines(report: dict[str, Any], classes: tuple[str, ...]) -> list[str]:
    lines = []
    if (left_out := report["left_out"]) is not None:
        lines.append(f"  SBD images left out of train because they are in val: {len(left_out)}")
    lines.append(f"  largest side {report['largest']} pixels; labels:")
    total = sum(report["labels"].values())
    for value, count in report["labels"].items():
        name = "void" if value == VOID else classes[value]
        lines.append(f"    {value:>3} {name:<12} {100 * count / total:6.2f} % of pixels")
    missing = [name for value, name in enumerate(classes) if value not in report["labels"]]
    return [*lines, f"  classes without a pixel: {', '.join(missing) or 'none'}"]
