"""The colours in which VOC shows its classes."""

import numpy as np


def _colours() -> np.ndarray:
    """The bits of an id spread over the three channels: (256, 3) uint8."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours


COLORS = _colours()
PALETTE = COLORS.ravel().tolist()  # as Pillow takes it
