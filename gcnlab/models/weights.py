"""Weights from a file or from torchvision, loaded with every tensor accounted for."""

from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from gcnlab.models.heads import dense_kernel


def read_weights(weights: str | Path, backbone: str) -> tuple[dict[str, Tensor], str]:
    """Tensors by name, and what to call their source in messages.

    Args:
        weights: a file (``.pt``/``.pth``, read with ``weights_only``, or ``.npz``), or the name of
            torchvision's weights of ``backbone`` (downloads).

    Raises:
        ValueError: a damaged file, an unknown name, or a failed download.
    """
    path = Path(weights)
    if path.suffix in (".npz", ".pt", ".pth"):
        return _read_file(path), str(path)
    try:
        entry = torchvision.models.get_model_weights(backbone)[str(weights)]
    except (KeyError, ValueError):
        raise ValueError(f"torchvision has no weights {str(weights)!r} for {backbone!r}") from None
    try:
        return entry.get_state_dict(), str(weights)
    except URLError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        problem = f"{entry.url} cannot be downloaded ({error.reason})"
        raise ValueError(f"{problem}: put that file into {folder}") from None


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("no dictionary of tensors")
        return state
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged or dangerous file can raise almost anything
        kind = type(error).__name__
        raise ValueError(f"weights {path} cannot be read ({kind}): copy the file again") from None


def load_matching(
    module: nn.Module, state: dict[str, Tensor], source: str, ignore: Sequence[str] = ()
) -> None:
    """Load ``state`` into ``module`` with every tensor accounted for.

    Args:
        source: named in error messages.
        ignore: prefixes of names in ``state`` that by design are no part of ``module``.

    Raises:
        ValueError: a missing, unexpected or wrongly shaped tensor, by name.
    """
    state = {name: t for name, t in state.items() if not name.startswith(tuple(ignore))}
    own = module.state_dict()
    # Caffe-era and some exported files lack this counter, which training does not use.
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in own]
    reshaped = [n for n in state if n in own and state[n].shape != own[n].shape]
    for problem, names in (
        ("lacks", missing),
        ("has unknown", unexpected),
        ("has a wrong shape for", reshaped),
    ):
        if names:
            count = len(names)
            raise ValueError(f"weights {source} {problem} {count} tensors, first {names[0]!r}")
    module.load_state_dict(state, strict=False)


def dense_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` of a segmenter, any GCN heads in it as the trivial convolutions that they equal."""
    dense = {n: t for n, t in state.items() if ".left." not in n and ".right." not in n}
    for name in state:
        if name.endswith(".left.0.weight"):
            head = name.removesuffix(".left.0.weight")
            dense[f"{head}.weight"] = sum(
                dense_kernel(*(state[f"{head}.{side}.{i}.weight"] for i in (0, 1)))
                for side in ("left", "right")
            )
    return dense
