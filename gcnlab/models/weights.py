"""Weights from a file or from torchvision, loaded with every tensor accounted for."""

from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from gcnlab.models.caffe import from_caffe
from gcnlab.models.heads import dense_kernel


def read_weights(weights: str | Path, backbone: str) -> tuple[dict[str, Tensor], str]:
    """Tensors by name, and what to call their source in messages.

    ``weights`` is a file (``.pt``/``.pth``, read with ``weights_only``, or ``.npz``) with
    torchvision's or Caffe's names, or the name of torchvision's weights of ``backbone``
    (downloads). Raises ``ValueError`` for a damaged file, an unknown name, or a failed download.
    """
    path = Path(weights)
    if path.suffix in (".npz", ".pt", ".pth"):
        state = _read_file(path)
        caffe = "conv1.0" in state  # the name of its first blob
        return from_caffe(state, str(path)) if caffe else state, str(path)
    entry = _entry(str(weights), backbone)
    try:
        return entry.get_state_dict(check_hash=True), str(weights)
    except URLError as error:
        problem = f"{entry.url} cannot be downloaded ({error.reason})"
        remedy = f"put that file into {Path(torch.hub.get_dir()) / 'checkpoints'}"
        raise ValueError(f"{problem}: {remedy}") from None


def published_name(weights: str, backbone: str) -> str:
    """The name of torchvision's file, which ends with the first digits of its SHA-256.

    ``ValueError`` if torchvision has no such weights.
    """
    return Path(_entry(weights, backbone).url).stem


def _entry(weights: str, backbone: str) -> torchvision.models.WeightsEnum:
    try:
        return torchvision.models.get_model_weights(backbone)[weights]
    except (KeyError, ValueError):
        raise ValueError(f"torchvision has no weights {weights!r} for {backbone!r}") from None


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not all(isinstance(tensor, Tensor) for tensor in dict(state).values()):
            raise TypeError("no dictionary of tensors")
        return state
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged or dangerous file can raise almost anything
        kind = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise ValueError(f"weights {path} cannot be read ({kind}): copy the file again") from None


def load_matching(
    module: nn.Module, state: dict[str, Tensor], source: str, ignore: Sequence[str] = ()
) -> None:
    """Load ``state`` into ``module`` with every tensor accounted for.

    ``source`` is named in messages, ``ignore`` are prefixes of names that by design are no part of
    ``module``. Raises ``ValueError`` for a missing, unexpected, wrongly shaped or not finite
    tensor, by name.
    """
    state = {name: t for name, t in state.items() if not name.startswith(tuple(ignore))}
    own = module.state_dict()
    # Caffe-era and some exported files lack this counter, which training does not use.
    problems = {
        "lacks": [n for n in own if n not in state and not n.endswith("num_batches_tracked")],
        "has unknown": [n for n in state if n not in own],
        "has a wrong shape for": [n for n in state if n in own and state[n].shape != own[n].shape],
        "has infinite values or nan in": [n for n in state if not state[n].isfinite().all()],
    }
    for problem, names in problems.items():
        if names:
            count = len(names)
            raise ValueError(f"weights {source} {problem} {count} tensors, first {names[0]!r}")
    module.load_state_dict(state, strict=False)


def dense_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` of a segmenter, any GCN heads in it as the trivial convolutions that they equal."""
    dense = {n: t for n, t in state.items() if ".left." not in n and ".right." not in n}
    for name in (n for n in state if n.endswith((".left.0.weight", ".right.0.weight"))):
        head, branch = name.removesuffix(".0.weight").rsplit(".", 1)
        kernel = dense_kernel(state[name], state[f"{head}.{branch}.1.weight"])
        dense[f"{head}.weight"] = dense.get(f"{head}.weight", 0) + kernel
    return dense
