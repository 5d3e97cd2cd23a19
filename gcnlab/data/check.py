"""Is this data set whole? Layout, counts, label values, overlap of splits, fingerprint."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gcnlab.data.catalog import DataSpec, check_pair, fingerprint
from gcnlab.data.readers import read_image
from gcnlab.data.sources import SOURCES, ClassFolders, Source, classification_samples
from gcnlab.data.transforms import VOID
from gcnlab.errors import UserError


def check(name: str, data_root: Path | None = None) -> dict[str, Any]:
    """Read every image and label of data set ``name``.

    Returns:
        ``root``, ``splits`` (images found and official count of each), ``complete`` (no count is lower), ``unused``
        (images of COCO that show no object of the classes), ``test`` (images without labels, where there is a test
        server), ``overlap`` (names in train and val; of classification data, the same bytes), ``largest`` (longest
        image side in pixels), ``fingerprint``; of segmentation data also ``left_out`` (names of SBD that are in val and
        so not in train) and ``labels`` (pixels per label value over train and val); of classification data
        ``per_class`` (images of each split's smallest and largest class).

    Raises:
        UserError: unknown name, missing folder or list, or the first file that is missing, damaged or no label.
    """
    if name not in SOURCES:
        raise UserError(f"unknown data set {name!r}; choose one of {', '.join(SOURCES)}")
    source, spec = SOURCES[name], DataSpec(name, side=1)
    root = spec.root(data_root)
    if isinstance(source, ClassFolders):
        found = {s: classification_samples(source, root / source.folder, s) for s in source.official_counts}
    else:
        found = {split: listed(root) for split, listed in source.splits.items()}
    splits = {split: {"images": len(found[split]), "official": n} for split, n in source.official_counts.items()}
    report = {
        "name": name,
        "root": str(root),
        "splits": splits,
        "complete": all(entry["images"] >= entry["official"] for entry in splits.values()),
    }
    if getattr(source, "unused", None) is not None:
        report["unused"] = source.unused(root)
    if getattr(source, "test", None) is not None:
        try:
            report["test"] = {"images": len(source.test(root)), "official": source.official_test}
        except UserError:  # not needed for any table
            report["test"] = {"images": 0, "official": source.official_test}
    for split in report["splits"]:
        if not found[split]:
            raise UserError(f"the {split} split has no images (of these classes): check its lists and folders")
    details = _classes if isinstance(source, ClassFolders) else _labels
    return report | details(source, found) | {"fingerprint": fingerprint(spec, data_root)}


def _classes(source: ClassFolders, found: dict[str, list]) -> dict[str, Any]:
    def read(sample: tuple[Path, int]) -> tuple[int, bytes, str]:
        path, _ = sample
        size = max(read_image(path).size)
        return size, hashlib.blake2b(path.read_bytes(), digest_size=16).digest(), f"{path.parent.name}/{path.name}"

    with ThreadPoolExecutor() as pool:
        train, val = (list(pool.map(read, found[split])) for split in ("train", "val"))
    largest = max(size for size, _, _ in train + val)
    shared = {content for _, content, _ in train} & {content for _, content, _ in val}
    sizes = {
        split: np.bincount([label for _, label in listed], minlength=len(source.classes))
        for split, listed in found.items()
    }
    per_class = {split: [int(counts.min()), int(counts.max())] for split, counts in sizes.items()}
    overlap = sorted(name for _, content, name in train if content in shared)
    return {"overlap": overlap, "largest": largest, "per_class": per_class}


def _labels(source: Source, found: dict[str, list]) -> dict[str, Any]:
    def read(sample) -> tuple[np.ndarray, tuple[int, int]]:
        image, label = read_image(sample.image), sample.read_label(len(source.classes))
        check_pair(source, sample, image.size, label.shape[::-1])
        return np.bincount(label.ravel(), minlength=256), image.size

    everything = found["train"] + found.get("val", [])
    with ThreadPoolExecutor() as pool:
        read_files = list(pool.map(read, everything))
    pixels = sum(counts for counts, _ in read_files)
    names = {split: {sample.name for sample in listed} for split, listed in found.items()}
    return {
        "overlap": sorted(names["train"] & names.get("val", set())),
        "left_out": sorted(names.get("SBD", set()) & names["val"]) if "SBD" in names else None,
        "labels": {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)},
        "largest": max(max(size) for _, size in read_files),
    }


def describe(report: dict[str, Any]) -> str:
    """A check's result for reading."""
    source = SOURCES[report["name"]]
    classes = source.classes
    lines = [f"{report['name']} at {report['root']}"]
    for split, entry in report["splits"].items():
        more = entry["images"] - entry["official"]
        verdict = "a subset: results will say so" if more < 0 else "complete" if more == 0 else f"{more} more"
        official = getattr(source, "official", "official")
        lines.append(f"  {split:<9} {entry['images']:>6} images of {entry['official']} {official}: {verdict}")
    if "unused" in report:
        lines.append(
            f"  not used of COCO, because no single object of the classes is on them: {report['unused']} images"
        )
    if "test" in report:
        lines.append("  test      {images:>6} images of {official} official, without labels".format(**report["test"]))
    if "val" in report["splits"]:
        overlap = report["overlap"]
        lines.append(f"  overlap of train and val: {', '.join(overlap[:5]) if overlap else 'none'}")
    if "per_class" in report:
        lines.append(
            f"  {len(classes)} classes; largest side {report['largest']} pixels; images per class: "
            + ", ".join(f"{split} {low} … {high}" for split, (low, high) in report["per_class"].items())
        )
        return "\n".join([*lines, f"  fingerprint {report['fingerprint']}"])
    if report["left_out"] is not None:
        lines.append(f"  SBD images left out of train because they are in val: {len(report['left_out'])}")
    total = sum(report["labels"].values())
    lines.append(f"  largest side {report['largest']} pixels; labels:")
    for value, count in report["labels"].items():
        name = "void" if value == VOID else classes[value]
        lines.append(f"    {value:>3} {name:<12} {100 * count / total:6.2f} % of pixels")
    missing = [name for value, name in enumerate(classes) if value not in report["labels"]]
    lines.append(f"  classes without a pixel: {', '.join(missing) or 'none'}")
    lines.append(f"  fingerprint {report['fingerprint']}")
    return "\n".join(lines)
