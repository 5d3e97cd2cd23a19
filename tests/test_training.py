"""The step and the loop: schedule, loss, resuming bit for bit, and faults."""

import itertools
import math

import pytest
import torch
from made import silent
from torch import nn

from gcnlab.errors import UserError
from gcnlab.models import build_classifier, build_segmenter
from gcnlab.training import (
    Diverged,
    Schedule,
    autocast,
    best_precision,
    make_step,
    save_atomically,
    train,
)

CLASSES = 4
CPU = torch.device("cpu")


def model_of(seed=0):
    torch.manual_seed(seed)
    return build_segmenter("gcn", 3, refine=True, backbone="small", num_classes=CLASSES)


def batch(iteration, count=2, side=12):
    """A function of the iteration, as the batches of a real split are."""
    generator = torch.Generator().manual_seed(iteration)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = (images[:, 0] // 64).clone()
    labels[:, :2] = 255
    return images, labels


def batches(first, last):
    return (batch(i) for i in range(first, last))


def step_of(model=None, **schedule):
    schedule = Schedule(**{"steps": 8, "batch_size": 2, "warmup": 2, **schedule})
    return make_step(model or model_of(), CLASSES, schedule, CPU, "float32")


# --- schedule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", ["constant", "cosine", "step"])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_schedule(decay, warmup):
    schedule = Schedule(100 + warmup, 1, decay=decay, warmup=warmup)
    rates = [schedule.factor(i) for i in range(schedule.steps)]
    backwards = [schedule.factor(i) for i in reversed(range(schedule.steps))]
    assert rates == backwards[::-1], "a pure function of the iteration"
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[warmup] == 1
    assert rates[:warmup] == pytest.approx([(i + 1) / (warmup + 1) for i in range(warmup)])
    after = rates[warmup:]
    if decay == "constant":
        assert set(after) == {1.0}
    else:
        assert after == sorted(after, reverse=True) and len(set(after)) == (
            3 if decay == "step" else len(after)
        )
        assert after[-1] < 0.02
    assert rates[warmup + 50] == pytest.approx({"constant": 1, "cosine": 0.5, "step": 0.1}[decay])


@pytest.mark.parametrize(
    ("steps", "evaluations"), [(1, 1), (3, 1), (3, 3), (10, 4), (800, 4), (7, 5)]
)
def test_evaluations_are_evenly_spaced_up_to_the_last_step(steps, evaluations):
    after = sorted(Schedule(steps, 1, evaluations=evaluations).evaluate_after())
    assert len(after) == evaluations and after[-1] == steps
    gaps = [b - a for a, b in zip([0, *after[:-1]], after, strict=True)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("wrong", [
    {"steps": 0}, {"batch_size": 0}, {"evaluations": 0}, {"evaluations": 9}, {"steps": -3},
    {"optimizer": "adam"}, {"decay": "stairs"}, {"loss_reduction": "none"},
])  # fmt: skip
def test_impossible_schedules_are_refused(wrong, caught):
    with pytest.raises(UserError) as info:
        Schedule(**{"steps": 8, "batch_size": 2, **wrong})
    assert next(iter(wrong)) in caught(info)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_step_uses_the_rate_of_its_iteration(optimizer):
    step = step_of(optimizer=optimizer, lr=0.1, backbone_lr=0.01, decay="cosine")
    for i in range(8):
        step(*batch(i))
        rates = {len(group["params"]): group["lr"] for group in step.optimizer.param_groups}
        backbone = len(list(step.model.backbone.parameters()))
        others = len(list(step.model.parameters())) - backbone
        factor = step.schedule.factor(i)
        assert rates == {
            backbone: pytest.approx(0.01 * factor),
            others: pytest.approx(0.1 * factor),
        }
    assert step.iteration == 8


# --- loss ----------------------------------------------------------------------------------------


class Table(nn.Module):
    """A model that is its own logits: their gradient is the gradient per pixel."""

    def __init__(self, shape=(2, CLASSES, 6, 5)):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        return self.logits


def table_step(labels, reduction):
    model = Table()
    schedule = Schedule(
        1, 2, "sgd", lr=0.1, decay="constant", momentum=0, weight_decay=0, loss_reduction=reduction
    )
    before = model.logits.detach().clone()
    loss = make_step(model, CLASSES, schedule, CPU, "float32")(torch.zeros(2, 3, 6, 5), labels)
    return before, model, loss


def some_labels():
    labels = torch.randint(0, CLASSES, (2, 6, 5), generator=torch.Generator().manual_seed(1))
    labels[0, :4] = 255
    return labels


def test_biases_as_in_caffe_learn_twice_as_fast_and_do_not_decay():
    """One step of SGD moves a tensor by rate × (gradient + decay × tensor)."""
    moved = {}
    for caffe in (False, True):
        torch.manual_seed(0)
        model = build_segmenter("gcn", 3, refine=True, backbone="small", num_classes=CLASSES)
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, 0.5)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        schedule = Schedule(1, 1, "sgd", lr=1e-3, backbone_lr=1e-4, decay="constant",
                            weight_decay=0.1, caffe_biases=caffe)  # fmt: skip
        make_step(model, CLASSES, schedule, CPU, "float32")(*batch(1))
        moved[caffe] = {n: (p - before[n]).detach() for n, p in model.named_parameters()}
    for name, plain in moved[False].items():
        rate = 1e-4 if name.startswith("backbone.") else 1e-3
        expected = 2 * (plain + rate * 0.1 * 0.5) if name.endswith(".bias") else plain
        torch.testing.assert_close(moved[True][name], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_void_pixels_do_not_learn(reduction):
    labels = some_labels()
    before, model, _ = table_step(labels, reduction)
    moved = (model.logits != before).any(1)
    assert torch.equal(moved, labels != 255)
    assert torch.equal(model.logits.grad.ne(0).any(1), labels != 255)


def test_loss_is_the_cross_entropy_of_the_counted_pixels():
    labels = some_labels()
    before, _, loss = table_step(labels, "mean")
    chosen = before.log_softmax(1).gather(1, labels.clamp(max=CLASSES - 1)[:, None])[:, 0]
    assert loss.item() == pytest.approx(-chosen[labels != 255].mean().item(), rel=1e-5)
    assert not loss.requires_grad


def test_sum_is_mean_times_the_counted_pixels():
    labels = some_labels()
    counted = (labels != 255).sum()
    assert 0 < counted < labels.numel()
    (_, mean, mean_loss), (_, total, total_loss) = (
        table_step(labels, "mean"),
        table_step(labels, "sum"),
    )
    torch.testing.assert_close(total_loss, mean_loss * counted)
    torch.testing.assert_close(total.logits.grad, mean.logits.grad * counted)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_of_void_has_loss_zero(reduction):
    step = step_of(loss_reduction=reduction)
    images, labels = batch(0)
    assert step(images, torch.full_like(labels, 255)) == 0
    for name, parameter in step.model.named_parameters():
        assert torch.isfinite(parameter.grad).all() and torch.isfinite(parameter).all(), name
    assert torch.isfinite(step(images, labels))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_loss_goes_down(optimizer):
    step = step_of(
        steps=25, optimizer=optimizer, lr=5e-3 if optimizer == "adamw" else 0.05, decay="constant"
    )
    losses = [step(*batch(0)).item() for _ in range(25)]
    assert losses[0] == pytest.approx(math.log(CLASSES), abs=0.3), "a fresh model knows nothing"
    assert losses[-1] < 0.5 * losses[0]


def test_a_classifier_of_a_thousand_classes_learns_class_255_too():
    """In label maps 255 is void; ImageNet has a class of that number."""
    torch.manual_seed(0)
    classifier = build_classifier("small", 1000)
    step = make_step(classifier, 1000, Schedule(30, 4, lr=1e-2, decay="constant"), CPU, "float32")
    images, labels = batch(0, count=4)[0], torch.tensor([255, 999, 255, 0])
    before = classifier.fc.weight[255].clone()
    losses = [step(images, labels).item() for _ in range(30)]
    assert not torch.equal(classifier.fc.weight[255], before)
    assert losses[0] == pytest.approx(math.log(1000), abs=0.7) and losses[-1] < 0.3 * losses[0]
    assert step(images, torch.full((4,), 255)) > 0


def test_another_number_of_classes_is_refused():
    step = make_step(model_of(), CLASSES + 1, device=CPU, precision="float32")
    with pytest.raises(ValueError, match=f"{CLASSES} classes, not {CLASSES + 1}"):
        step(*batch(0))


def test_precision_is_bf16_only_where_the_processor_computes_in_it(monkeypatch):
    for amx, avx in itertools.product((False, True), repeat=2):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        assert best_precision(CPU) == ("bf16" if amx or avx else "float32")
    with autocast(CPU, "bf16"):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32
    model = model_of()
    loss = make_step(model, CLASSES, device=CPU, precision="bf16")(*batch(0))
    assert loss.dtype == torch.float32 and all(p.dtype == torch.float32 for p in model.parameters())


# --- the loop ------------------------------------------------------------------------------------


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_run_ends_bit_for_bit_like_a_whole_one(optimizer, stop, tmp_path):
    settings = {"optimizer": optimizer, "lr": 0.01, "backbone_lr": 0.005, "evaluations": 4}
    whole = step_of(**settings)
    history = train(whole, batches, lambda model: {"sum": 1.0}, log=silent)["history"]

    def until_stopped(first, last):
        for i in range(first, last):
            if i == stop:
                raise KeyboardInterrupt
            yield batch(i)

    checkpoint = tmp_path / "deep" / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(step_of(**settings), until_stopped, lambda model: {"sum": 1.0}, checkpoint, 0, silent)
    torch.manual_seed(99)
    resumed, lines, asked = step_of(model_of(seed=7), **settings), [], []

    def rest(first, last):
        asked.append((first, last))
        return batches(first, last)

    progress = train(resumed, rest, lambda model: {"sum": 1.0}, checkpoint, log=lines.append)
    assert asked == [(stop, 8)] and f"resuming at step {stop} of 8" in lines
    assert same(resumed.model.state_dict(), whole.model.state_dict())
    assert progress["history"] == history and [entry["step"] for entry in history] == [2, 4, 6, 8]
    assert progress["seconds"] > 0


def test_a_run_that_was_stopped_after_its_last_step_is_finished(tmp_path):
    step = step_of()
    train(step, batches, checkpoint=tmp_path / "run.pt", checkpoint_seconds=0, log=silent)
    again = step_of(model_of(seed=7))
    train(again, lambda first, last: iter(()) if first == last else pytest.fail("trained again"),
          checkpoint=tmp_path / "run.pt", log=silent)  # fmt: skip
    assert same(again.model.state_dict(), step.model.state_dict())


def test_evaluations_do_not_change_training():
    def evaluate(model):
        model.eval()
        with torch.no_grad():
            model(batch(100)[0])
        return {"miou": 0.5}

    plain, evaluated = step_of(), step_of(evaluations=4)
    train(plain, batches, log=silent)
    train(evaluated, batches, evaluate, log=silent)
    assert same(plain.model.state_dict(), evaluated.model.state_dict())


def test_no_gradient_of_the_step_before_is_kept_during_a_forward_pass():
    model, kept = Table(), []
    model.register_forward_pre_hook(
        lambda *_: kept.extend(p for p in model.parameters() if p.grad is not None)
    )
    step = make_step(model, CLASSES, precision="float32")
    for _ in range(2):
        step(torch.zeros(2, 3, 6, 5), some_labels())
    assert kept == [] and any(p.grad is not None for p in model.parameters())


def test_the_random_state_is_resumed(tmp_path):
    step = step_of()
    torch.manual_seed(5)
    save_atomically(step.state_dict(), tmp_path / "state.pt")
    expected = torch.rand(3)
    step.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_another_precision_is_refused(tmp_path, caught):
    train(step_of(), batches, checkpoint=tmp_path / "run.pt", checkpoint_seconds=0, log=silent)
    step = make_step(model_of(), CLASSES, Schedule(8, 2), CPU, "bf16")
    with pytest.raises(UserError) as info:
        train(step, batches, checkpoint=tmp_path / "run.pt", log=silent)
    assert "float32" in caught(info) and "bf16" in caught(info)


@pytest.mark.parametrize("when", [1, 4, 8])
def test_a_loss_that_is_not_a_number_stops_the_run(when, tmp_path):
    def poisoned(first, last):
        for i in range(first, last):
            images, labels = batch(i)
            yield images / 255 if i < when - 1 else images / 0.0, labels

    with pytest.raises(Diverged, match=r"loss is nan .*lower the learning rate"):
        train(step_of(), poisoned, checkpoint=tmp_path / "run.pt", checkpoint_seconds=0, log=silent)
    if (tmp_path / "run.pt").exists():
        state = torch.load(tmp_path / "run.pt", weights_only=True)
        assert all(torch.isfinite(tensor).all() for tensor in state["step"]["model"].values())
        assert state["step"]["iteration"] == when - 1


def test_a_rate_that_is_far_too_high_diverges():
    with pytest.raises(Diverged):
        train(step_of(optimizer="sgd", lr=1e12, warmup=0), batches, log=silent)


def without_a_tensor(path):
    state = torch.load(path, weights_only=True)
    state["step"]["model"].popitem()
    torch.save(state, path)


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"half a che"),
    lambda path: path.write_bytes(b"PK\x03\x04 half a zip"),
    lambda path: path.write_bytes(path.read_bytes()[:-2000]),
    without_a_tensor,
    lambda path: torch.save(model_of().state_dict(), path),
], ids=["empty", "text", "half a zip", "truncated", "another model", "weights alone"])  # fmt: skip
def test_a_damaged_checkpoint_is_named(damage, tmp_path, caught):
    path = tmp_path / "run.pt"
    train(step_of(), batches, checkpoint=path, checkpoint_seconds=0, log=silent)
    damage(path)
    with pytest.raises(UserError) as info:
        train(step_of(), batches, checkpoint=path, log=silent)
    assert str(path) in caught(info) and "delete" in caught(info)


def test_a_point_of_the_history_has_the_mean_loss_since_the_point_before():
    step = step_of(evaluations=4)
    losses = [float(step(*batch(i))) for i in range(8)]
    history = train(step_of(evaluations=4), batches, log=silent)["history"]
    expected = [sum(losses[i : i + 2]) / 2 for i in (0, 2, 4, 6)]
    assert [point["loss"] for point in history] == pytest.approx(expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_captured_step_is_the_eager_one():
    losses = []
    for graph in (True, False):
        step = make_step(model_of(), CLASSES, Schedule(8, 2, warmup=2), "cuda", "float32")
        step._use_graph = graph
        losses.append([float(step(*batch(i))) for i in range(8)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
