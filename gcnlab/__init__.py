"""A reproducibility study of Peng et al., *Large Kernel Matters* (CVPR 2017, arXiv 1703.02719)."""

__version__ = "0.1.0"
