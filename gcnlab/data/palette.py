"""The colours in which VOC shows its classes."""

import numpy as np

# The bits of an id spread over the three channels: (256, 3) uint8.
_BITS = np.arange(256)[:, None, None] >> np.arange(24).reshape(8, 3) & 1
COLORS = (_BITS << np.arange(7, -1, -1)[:, None]).sum(1).astype(np.uint8)
PALETTE = COLORS.ravel().tolist()  # as Pillow takes it
