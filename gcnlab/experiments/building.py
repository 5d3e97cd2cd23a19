"""Config → model: untrained, initialised from what the config names, or trained."""

from pathlib import Path

import torch

from gcnlab.errors import UserError
from gcnlab.experiments.config import PreTraining, Training
from gcnlab.experiments.store import Store, weights_digest, weights_file
from gcnlab.models import build_classifier, build_segmenter


def build_model(run: PreTraining | Training, weights: Path | str | None = None) -> torch.nn.Module:
    """The untrained model of ``run``; layers that ``weights`` does not fill are drawn from its
    seed."""
    torch.manual_seed(run.seed)
    num_classes = len(run.data.class_names)
    if isinstance(run, PreTraining):
        return build_classifier(run.backbone, num_classes, run.normalization)
    return build_segmenter(run.head, run.k, run.m, run.refine, run.backbone, num_classes, weights,
                           run.normalization, run.batch_norm, run.quiet)  # fmt: skip


def initialise(run: PreTraining | Training, store: Store) -> torch.nn.Module:
    """The model of ``run`` as its training begins; ``UserError`` if its start is damaged."""
    if isinstance(run.start, str | None):
        try:
            return build_model(run, weights_file(run, store.data_root) or run.start)
        except ValueError as error:  # of weights that do not fit
            raise UserError(str(error)) from None
    trained_model(run.start, store)  # checks the digest
    return build_model(run, store.output(run.start))


def trained_model(run: PreTraining | Training, store: Store) -> torch.nn.Module:
    """The trained model of a finished run, in evaluation mode.

    ``UserError`` if it was not trained below the store's folder, or its weights are not those that
    its record names.
    """
    record = store.record(run)
    if record is not None and record.get("diverged"):
        raise UserError(f"{run.name} diverged ({record['diverged']}): it has no trained weights")
    if record is None or not store.output(run).is_file():
        raise UserError(
            f"{run.name} has no weights below {store.out}: train it first (python -m gcnlab run); "
            "the committed study has records only"
        )
    return load_weights(run, store.output(run), record["weights"])


def load_weights(run: PreTraining | Training, path: Path, digest: str) -> torch.nn.Module:
    """The model of ``run`` with the weights in ``path``; ``UserError`` unless their digest is
    ``digest``."""
    model = build_model(run)
    if not path.is_file():  # reading a pipe would wait for ever
        raise UserError(f"{path} is missing: train this run first (python -m gcnlab run)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = " ".join(repr(error).split())[:120]
        raise UserError(
            f"{path} is damaged ({reason}): delete it and train this run again"
        ) from None
    if weights_digest(state) != digest:
        raise UserError(
            f"{path} holds other weights than its record names: delete it and train again"
        )
    return model.eval()
