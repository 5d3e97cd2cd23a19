"""The dry run: a paper's setting in miniature end to end, and what it says of failures."""

from dataclasses import replace

import pytest

from gcnlab import data
from gcnlab.analysis.tables import table_configs
from gcnlab.data import DataSpec
from gcnlab.data.synthetic import official
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf
from gcnlab.experiments import dry_run
from gcnlab.experiments.config import CrfEvaluation, Evaluation, PreTraining
from gcnlab.experiments.dry_run import perform, shortened
from gcnlab.experiments.profiles import get
from gcnlab.experiments.resources import chain
from gcnlab.experiments.stages import backbone_pair

PAPER = get("paper")


def tiny_paper():
    """Profile paper with a ResNet-18 and an eighth of its sizes."""
    template = replace(PAPER.template, backbone="resnet18", data=DataSpec("voc", side=64))
    imagenet = DataSpec("imagenet", side=32, resize=36, crop_area=0.08)
    pair = backbone_pair(template, "medium", imagenet, PAPER.pair[0].start.schedule)
    voc = PAPER.protocols["voc"]
    sides = [(80, 64), (64, None), (64, None)]
    stages = [
        replace(stage, data=replace(stage.data, side=side, val_side=val_side))
        for stage, (side, val_side) in zip(voc.stages, sides, strict=True)
    ]
    tiny = replace(voc, template=template, stages=tuple(stages))
    return replace(PAPER, template=template, pair=pair, protocols={"voc": tiny})


def test_a_run_in_miniature_is_one_step_of_a_few_images_and_so_are_its_starts():
    (crf,) = (r for r in table_configs(["9"], PAPER, [0]) if isinstance(r, CrfEvaluation))
    schedules = [link.schedule for link in chain(shortened(crf)) if not isinstance(
        link, CrfEvaluation | Evaluation)]  # fmt: skip
    assert {(s.steps, s.batch_size, s.lr) for s in schedules} == {(1, 1, 1e-10)}
    assert shortened(PAPER.pair[0].start).schedule.batch_size == dry_run.MOST_IMAGES


def test_made_up_data_have_the_official_layouts_and_sizes(tmp_path):
    runs = table_configs(["6", "7", "9"], PAPER, [0])
    specs = dict.fromkeys(link.data for run in runs for link in chain(run))
    official.write(tmp_path, specs)
    sizes = {}
    for spec in specs:
        assert data.counts(spec, tmp_path)["val"] == (1000 if spec.is_classification else 1)
        for split in ("train", "val"):
            image, label, size = data.load(spec, split, tmp_path)[0]
            sizes[spec.name, split] = tuple(image.shape[1:])
            assert spec.is_classification or (len(set(label.flatten().tolist())) > 1 and size)
    assert sizes["coco+voc", "train"] == (640, 640) and sizes["coco+voc", "val"] == (512, 512)
    assert sizes["cityscapes-coarse", "train"] == sizes["cityscapes", "val"] == (1024, 2048)
    assert sizes["imagenet", "val"] == (224, 224)


def test_every_kind_of_run_leaves_a_record_and_no_weights(tmp_path, monkeypatch):
    runs = [r for r in table_configs(["6", "7"], tiny_paper(), [0])
            if r.variant.startswith(("pretraining", "gcn-k15-br"))]  # fmt: skip

    def missing(_):
        raise UserError("install it")

    monkeypatch.setattr(Crf, "check_backend", missing)
    lines = []
    failures = perform(runs, tmp_path, lines.append)
    assert failures == ["gcn-k15-br-voc-stage-3-ms-crf-s0: install it"]
    records = list((tmp_path / "out" / "paper" / "runs").glob("*.json"))
    assert len(records) == len(runs) - 1 == len([line for line in lines if "GB at most" in line])
    assert any("coco+voc 80×80" in line for line in lines)
    assert {type(r) for r in runs} >= {PreTraining, Evaluation, CrfEvaluation}
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".pt", ".npy")]


def test_a_failure_stops_only_its_followers(tmp_path, monkeypatch):
    stages = [r for r in table_configs(["7"], tiny_paper(), [0]) if r.variant.startswith("conv1")]
    monkeypatch.setattr(dry_run, "execute", lambda *_, **__: 1 / 0)
    failures = perform(stages, tmp_path, lambda _: None)
    assert [f.split(": ")[1].split(" ")[0] for f in failures] == ["division", "needs", "needs"]


@pytest.mark.parametrize(("words", "code", "says"), [
    ("run 5 --profile smoke --dry-run", 0, "shapes-tiny 64×64"),
    ("run 9 --profile photos --dry-run", 2, "makes up no 'camvid'"),
])  # fmt: skip
def test_the_command(words, code, says, call, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done, out, err = call(*words.split())
    assert done == code and says in out + err and list(tmp_path.iterdir()) == []
