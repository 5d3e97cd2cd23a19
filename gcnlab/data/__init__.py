"""What the models are trained on: readers of official layouts, the embedded data set, preparation."""

from gcnlab.data.catalog import SOURCES, DataSpec, Split, counts, fingerprint, is_subset, load, samples

__all__ = ["SOURCES", "DataSpec", "Split", "counts", "fingerprint", "is_subset", "load", "samples"]
