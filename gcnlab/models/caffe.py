"""ResNet weights under Caffe's names, as torchvision's tensors.

Caffe keeps a convolution (``res2a_branch2a``), its batch norm (``bn2a_branch2a``) and the batch
norm's scale (``scale2a_branch2a``) in three layers; the stem is ``conv1``, ``bn_conv1`` and
``scale_conv1``. A file has one array per blob, ``<layer>.<number>``: weight and perhaps bias of a
convolution; sums of means and of variances, and the factor that both are divided by, of a batch
norm; γ and β of a scale. Batch norm, or both it and the scale, may be folded into what is before
them; then no layer of the file has them. The input is BGR in 0 … 255 less the mean pixel
(``normalization="caffe"``).
"""

import re
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

EPSILON = 1e-5  # of Caffe's batch norm as of torch's
_UNIT = re.compile(r"(?:res|bn|scale)(\d)([a-z])(\d*)_branch(1|2[abc])")  # 3b7: the block after b6
_STEM = {"conv1": "res", "bn_conv1": "bn", "scale_conv1": "scale"}


def from_caffe(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of a ResNet under torchvision's names; ``ValueError`` for one that is missing.

    A name that is none of Caffe's ResNet is kept, so that whoever loads the tensors refuses it.
    """
    units: dict[tuple[str, str], dict[str, Tensor]] = defaultdict(dict)
    result = {}
    for name, tensor in state.items():
        layer, _, blob = name.rpartition(".")
        if layer == "fc1000":
            result["fc." + ("bias" if blob == "1" else "weight")] = tensor
        elif (unit := _names(layer)) is not None and blob in ("0", "1", "2"):
            kind = _STEM.get(layer) or re.match("[a-z]+", layer)[0]
            units[unit][f"{kind}.{blob}"] = tensor
        else:
            result[name] = tensor
    kinds = ["res.0"] + ["scale.0", "scale.1"] * ("scale_conv1.0" in state)
    kinds += ["bn.0", "bn.1", "bn.2"] if "bn_conv1.0" in state else ["res.1"] * (len(kinds) == 1)
    for (conv, norm), blobs in units.items():
        if lacking := [kind for kind in kinds if kind not in blobs]:
            problem = f"weights {source} lacks blob {lacking[0]} of {conv}"
            raise ValueError(f"{problem}: convert them again")
        result |= _converted(conv, norm, blobs)
    return result


def _names(layer: str) -> tuple[str, str] | None:
    """torchvision's names of the convolution and the batch norm that a layer belongs to."""
    if layer in _STEM:
        return "conv1", "bn1"
    match = _UNIT.fullmatch(layer)
    if match is None:
        return None
    stage, letter, number, branch = match.groups()
    block = f"layer{int(stage) - 1}.{int(number) if number else ord(letter) - ord('a')}."
    if branch == "1":
        return f"{block}downsample.0", f"{block}downsample.1"
    position = "abc".index(branch[1]) + 1
    return f"{block}conv{position}", f"{block}bn{position}"


def _converted(conv: str, norm: str, blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One convolution and its batch norm; what was folded away leaves a norm that only adds."""
    weight = blobs["res.0"]
    none, one = torch.zeros(len(weight)), torch.ones(len(weight))
    factor = blobs.get("bn.2", one[:1]).reshape(())
    divided = 1 / factor if factor else factor  # as Caffe does with statistics that were never kept
    return {
        f"{conv}.weight": weight,
        f"{norm}.running_mean": blobs.get("bn.0", none) * divided - blobs.get("res.1", none),
        f"{norm}.running_var": blobs["bn.1"] * divided if "bn.1" in blobs else one - EPSILON,
        f"{norm}.weight": blobs.get("scale.0", one),
        f"{norm}.bias": blobs.get("scale.1", none),
    }
