"""What models are trained on: readers of official layouts, synthetic data, preparation."""

from gcnlab.data.catalog import counts, evaluation_batch_size, fingerprint, is_subset, load, samples
from gcnlab.data.sources import SOURCES
from gcnlab.data.spec import DataSpec
from gcnlab.data.split import Split

__all__ = [
    "SOURCES", "DataSpec", "Split", "counts", "evaluation_batch_size", "fingerprint", "is_subset",
    "load", "samples",
]  # fmt: skip
