"""Dense CRF (Krähenbühl and Koltun 2011) on the probabilities of a segmenter, as in Tables 7 and 9.

Mean field with two Gaussian kernels and the Potts model: pixels that are near and alike in colour,
and pixels that are very near, are drawn to one class. Kernels are normalised symmetrically, as in
pydensecrf.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from math import ceil, sqrt

import numpy as np
import torch
import torch.nn.functional as F

from gcnlab.errors import UserError, check_name

BACKENDS = ("exact", "pydensecrf2")
NEGLIGIBLE = -25.0  # exponent: e⁻²⁵ = 1e-11
EXACT_LIMIT = 1 << 14  # pixels: their matrix takes 1 GiB


@dataclass(frozen=True)
class Pairwise:
    """The two kernels: weights, and standard deviations in pixels and in levels of 0 … 255.

    The defaults are those of https://github.com/kazuto1011/deeplab-pytorch.
    """

    bilateral_weight: float = 4
    bilateral_xy: float = 67
    bilateral_rgb: float = 3
    smooth_weight: float = 3
    smooth_xy: float = 1


@dataclass(frozen=True)
class Crf:
    """A CRF step: what computes it, how long, and the kernels to choose from.

    Backend ``exact`` sums over all pairs of pixels, of images of up to ``EXACT_LIMIT`` pixels;
    ``pydensecrf2`` is the permutohedral approximation, for images of any size. Of ``candidates``
    the best on training images is used. Raises ``UserError`` for an unknown backend, no candidate
    or no iteration of the mean field.
    """

    backend: str
    candidates: tuple[Pairwise, ...] = (Pairwise(),)
    iterations: int = 10

    def __post_init__(self):
        check_name("CRF backend", self.backend, BACKENDS)
        if not self.candidates or self.iterations < 1:
            raise UserError("a CRF needs at least one candidate and one iteration")

    def check_backend(self) -> None:
        """Raise ``UserError`` if the backend is not installed."""
        if self.backend == "pydensecrf2" and find_spec("pydensecrf") is None:
            remedy = f"{sys.executable} -m pip install -e '.[crf]'"
            remedy += " (Python up to 3.12 and a C++ compiler)"
            raise UserError(f"the dense CRF needs pydensecrf2: {remedy}")

    def version(self) -> str | None:
        """Of the library that computes it; None for our own."""
        return None if self.backend == "exact" else version(self.backend)


def dense_crf(
    probabilities: np.ndarray,
    image: np.ndarray,
    kernels: Pairwise,
    backend: str = "exact",
    iterations: int = 10,
) -> np.ndarray:
    """Refine ``probabilities`` (classes, H, W) float by ``image`` (H, W, 3) uint8; same shape.

    Raises ``UserError`` if the image is too large for ``exact`` or the backend is missing.
    """
    Crf(backend).check_backend()
    # as deeplab's scripts: a probability of 0 would exclude a class for good
    log_p = np.log(np.clip(probabilities.astype(np.float32), 1e-5, 1))
    compute = _exact if backend == "exact" else _permutohedral
    return compute(log_p, image, kernels, iterations)


def _exact(log_p: np.ndarray, image: np.ndarray, kernels: Pairwise, iterations: int) -> np.ndarray:
    classes, height, width = log_p.shape
    if height * width > EXACT_LIMIT:
        problem = f"an image of {width}×{height} is too large for the exact CRF"
        raise UserError(f"{problem}: use backend pydensecrf2")
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    position, colour = np.stack([columns, rows], -1), image.astype(np.float32)
    features = np.concatenate([position / kernels.bilateral_xy, colour / kernels.bilateral_rgb], -1)
    bilateral = _kernel(torch.from_numpy(features.reshape(height * width, 5)))
    smooth = _blur(kernels.smooth_xy)
    ones = torch.ones(1, 1, height, width)
    bilateral_scale, smooth_scale = bilateral.sum(1).rsqrt_(), smooth(ones).rsqrt_()
    unary = torch.from_numpy(log_p)
    q = unary.softmax(0)
    for _ in range(iterations):
        alike = (q.reshape(classes, -1) * bilateral_scale) @ bilateral * bilateral_scale
        near = (smooth(q[:, None] * smooth_scale) * smooth_scale)[:, 0]
        messages = kernels.bilateral_weight * alike.view_as(q) + kernels.smooth_weight * near
        q = (unary + messages).softmax(0)
    return q.numpy()


def _kernel(features: torch.Tensor) -> torch.Tensor:
    """The Gaussian kernel of all pairs of ``features`` (pixels, dimensions); the next call reuses
    it."""
    features = features - features.mean(0)
    half_square, ones = -0.5 * (features**2).sum(1, keepdim=True), torch.ones(len(features), 1)
    one = torch.cat([features, half_square, ones], 1)
    other = torch.cat([features, ones, half_square], 1)
    exponent = torch.mm(one, other.T, out=_matrix(len(features)))  # −½ |a − b|²
    # exp is four times slower where it gives 0
    return exponent.clamp_(min=NEGLIGIBLE).exp_()


@lru_cache(maxsize=1)
def _matrix(pixels: int) -> torch.Tensor:
    """Memory that is used again: to get it anew from the system takes as long as to fill it."""
    return torch.empty(pixels, pixels)


def _blur(deviation: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Sums weighted by a Gaussian of the distance, 0 beyond edges: (N, 1, H, W) → the same."""
    reach = ceil(deviation * sqrt(-2 * NEGLIGIBLE))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)

    def blur(maps: torch.Tensor) -> torch.Tensor:
        down = F.conv2d(maps, line.view(1, 1, -1, 1), padding=(reach, 0))
        return F.conv2d(down, line.view(1, 1, 1, -1), padding=(0, reach))

    return blur


def _permutohedral(log_p: np.ndarray, image: np.ndarray, kernels: Pairwise, iterations: int):
    from pydensecrf.densecrf import DenseCRF2D

    classes, height, width = log_p.shape
    crf = DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(-log_p.reshape(classes, -1)))
    crf.addPairwiseGaussian(sxy=kernels.smooth_xy, compat=kernels.smooth_weight)
    deviations = {"sxy": kernels.bilateral_xy, "srgb": kernels.bilateral_rgb}
    rgb, weight = np.ascontiguousarray(image), kernels.bilateral_weight
    crf.addPairwiseBilateral(**deviations, rgbim=rgb, compat=weight)
    return np.array(crf.inference(iterations), np.float32).reshape(classes, height, width)
