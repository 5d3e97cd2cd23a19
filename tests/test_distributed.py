"""One run in two processes: the numbers of one process, every image counted once, one record."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gcnlab.data import Split
from gcnlab.errors import UserError
from gcnlab.experiments import profiles
from gcnlab.experiments.execute import execute
from gcnlab.experiments.store import Store
from gcnlab.models import build_classifier
from gcnlab.training import Schedule, distributed

TEMPLATE = profiles.get("smoke").template
# Not AdamW: its first steps follow the sign of gradients, which rounding decides where they are 0.
SGD = Schedule(3, 8, "sgd", lr=0.02, evaluations=3)
RUNS = [
    replace(TEMPLATE.start, schedule=SGD),
    replace(TEMPLATE, start=None, head="gcn", k=3, refine=True, schedule=SGD),
    replace(TEMPLATE, start=None, batch_norm="frozen", label="frozen",
            schedule=replace(SGD, lr=1e-7, loss_reduction="sum")),
]  # fmt: skip


def execute_all(out):
    """In float32, which bf16 would hide differences in."""
    torch.set_num_threads(1)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        setattr(torch.cpu, name, lambda: False)
    with distributed.process_group():
        return [execute(run, Store(Path(out)), log=lambda _: None) for run in RUNS]


def double_steps(out):
    """Losses and weights of six steps in float64, of one process or of several."""
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 4
    model = build_classifier("small", 4).double().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    with distributed.process_group():
        distributed.synchronise(model)
        (number, parts), losses = distributed.part(), []
        for _ in range(6):
            scores = model(images[number::parts])
            loss = F.cross_entropy(scores, labels[number::parts]) / parts
            optimizer.zero_grad()
            loss.backward()
            distributed.sum_gradients(model.parameters())
            optimizer.step()
            losses.append(float(distributed.summed(loss.detach())))
        if distributed.is_first():
            torch.save({"losses": torch.tensor(losses).double()} | model.state_dict(), out)


def in_two_processes(work, out):
    """Over the loopback interface: a test machine's own name may lead nowhere."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    subprocess.run([*program, "--local-addr=127.0.0.1", __file__, work, str(out)],
                   check=True, timeout=900, env=os.environ | loopback)  # fmt: skip


def test_batch_norm_sees_the_images_of_all_processes(tmp_path):
    """In float64, where rounding cannot hide a difference: losses, weights and statistics."""
    double_steps(tmp_path / "one.pt")
    in_two_processes("double_steps", tmp_path / "two.pt")
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("one", "two"))
    assert one.keys() == two.keys() and one["losses"][-1] < one["losses"][0] / 2
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path, monkeypatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    in_two_processes("execute_all", tmp_path / "two")
    for run, one in zip(RUNS, execute_all(tmp_path / "one"), strict=True):
        two = Store(tmp_path / "two").record(run)
        assert two["environment"]["processes"] == 2 and "processes" not in one["environment"]
        losses = [[point["loss"] for point in record["history"]] for record in (one, two)]
        # With batch norm that learns statistics rounding grows a hundredfold with every step in
        # float32; `test_batch_norm_sees_the_images_of_all_processes` shows that it is only that.
        exact = run is RUNS[2]
        compared = slice(None) if exact else slice(1)
        assert losses[1][compared] == pytest.approx(losses[0][compared], rel=1e-5)
        first, second = (
            torch.load(Store(tmp_path / folder).output(run), weights_only=True)
            for folder in ("one", "two")
        )
        for name, tensor in first.items() if exact else ():
            scale = tensor.double().abs().max().clamp(min=1e-3)
            assert (second[name].double() - tensor).abs().max() <= 1e-4 * scale, name
        if run is not RUNS[0]:
            counts = [record["counts"] for record in (one, two)]
            images = [[line.split()[::4] for line in c["per_image"]] for c in counts]
            assert len(images[0]) == len(images[1]) == one["images"]["val"]
            total = [sum(map(int, " ".join(c["confusion"]).split())) for c in counts]
            assert total[0] == total[1] == counts[0]["boundary"]["all"][1]
    assert len(list((tmp_path / "two").glob("*/runs/*.json"))) == len(RUNS)


def test_parts_of_a_batch_are_the_batch():
    def decode(i):
        return torch.arange(6).view(1, 2, 3).repeat(3, 1, 1) + i, torch.tensor(i), (2, 3)

    split = Split(range(7), decode)
    whole = list(split.shuffled(4, 0, 0, 5))
    for number in range(2):
        parts = split.shuffled(4, 0, 0, 5, (number, 2))
        for (images, labels), own in zip(whole, parts, strict=True):
            assert torch.equal(images[number::2], own[0]) and torch.equal(labels[number::2], own[1])
    with pytest.raises(UserError, match="no 3 equal parts"):
        next(split.shuffled(4, 0, 0, 5, (0, 3)))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
