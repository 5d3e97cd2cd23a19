"""Is this data set whole? Layout, counts, label values, overlap of splits, fingerprint."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gcnlab.data.catalog import SOURCES, DataSpec, fingerprint, samples
from gcnlab.data.readers import read_image, read_label
from gcnlab.errors import UserError


def check(name: str, data_root: Path | None = None) -> dict[str, Any]:
    """Read every image and label of data set ``name`` once.

    Returns:
        ``root``, ``splits`` (images found and official count of each), ``complete`` (all counts are official),
        ``overlap`` (names in train and val), ``left_out`` (names of SBD that are in val and so not in train),
        ``labels`` (pixels per label value over train and val), ``largest`` (longest image side in pixels),
        ``fingerprint``.

    Raises:
        UserError: unknown name, missing folder or list, or the first file that is missing, damaged or no label.
    """
    if name not in SOURCES:
        raise UserError(f"unknown data set {name!r}; choose one of {', '.join(SOURCES)}")
    source, spec = SOURCES[name], DataSpec(name, side=1)
    found = {split: samples(spec, split, data_root) for split in source.splits}

    def read(sample) -> tuple[np.ndarray, tuple[int, int]]:
        image, label = read_image(sample.image), read_label(sample.label, len(source.classes))
        if image.size != label.shape[::-1]:
            raise UserError(f"{sample.label} and {sample.image} differ in size: image and label must match")
        return np.bincount(label.ravel(), minlength=256), image.size

    everything = found["train"] + found["val"]
    with ThreadPoolExecutor() as pool:
        read_files = list(pool.map(read, everything))
    pixels = sum(counts for counts, _ in read_files)
    names = {split: {sample.name for sample in listed} for split, listed in found.items()}
    splits = {
        split: {"images": len(found[split]), "official": source.official_counts[split]} for split in source.splits
    }
    return {
        "name": name,
        "root": str(spec.root(data_root)),
        "splits": splits,
        "complete": all(entry["images"] == entry["official"] for entry in splits.values()),
        "overlap": sorted(names["train"] & names["val"]),
        "left_out": sorted(names["SBD"] & names["val"]),
        "labels": {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)},
        "largest": max(max(size) for _, size in read_files),
        "fingerprint": fingerprint(spec, data_root),
    }


def describe(report: dict[str, Any]) -> str:
    """A check's result for reading."""
    classes = SOURCES[report["name"]].classes
    lines = [f"{report['name']} at {report['root']}"]
    for split, entry in report["splits"].items():
        verdict = "complete" if entry["images"] == entry["official"] else "a subset: results will say so"
        lines.append(f"  {split:<9} {entry['images']:>6} images of {entry['official']} official: {verdict}")
    overlap = report["overlap"]
    lines.append(f"  overlap of train and val: {', '.join(overlap[:5]) if overlap else 'none'}")
    lines.append(f"  SBD images left out of train because they are in val: {len(report['left_out'])}")
    total = sum(report["labels"].values())
    lines.append(f"  largest side {report['largest']} pixels; labels:")
    for value, count in report["labels"].items():
        name = "void" if value == 255 else classes[value]
        lines.append(f"    {value:>3} {name:<12} {100 * count / total:6.2f} % of pixels")
    missing = [name for value, name in enumerate(classes) if value not in report["labels"]]
    lines.append(f"  classes without a pixel: {', '.join(missing) or 'none'}")
    lines.append(f"  fingerprint {report['fingerprint']}")
    return "\n".join(lines)
