"""Tables 1 to 3 of the feature matching losses as experiments: what is trained on, with what, from where, and how."""

from dataclasses import replace

import pytest
import torch

from demoe.core import profiles
from demoe.data.setting import Setting
from demoe.experiments import runs
from demoe.related import experiments as guests
from demoe.related import terms, weight_files
from demoe.training.loop import cosine

TINY = profiles.get("test", guest_steps=2, train_images=1, test_images=1, image_size=48)
SETTING = Setting(TINY, progress=False)


def test_rows_differ_in_what_is_added_to_the_loss():
    for network in guests.MATCHING:
        origin, control = (guests.named(name, SETTING) for name in (network, f"{network}-control"))
        assert origin.starts_from is None and control.starts_from == origin and control.loss == origin.loss
        for name in guests.ADDED:
            row = guests.named(f"{network}-{name}", SETTING)
            assert row.loss[:-1] == origin.loss and row.loss[-1][0] == name
            assert replace(row, name=control.name, loss=control.loss) == control
    known = guests.specs(Setting(profiles.get("quick"), progress=False))
    assert known["hinet-tfmlc"].loss == (("stages-psnr", 0.5), ("tfmlc", 1000.0)) and known["hinet"].sets == ("GoPro",)
    small = guests.named("hinet-tfmlc", SETTING)  # learns one blur, with L1
    assert small.loss == (("stages", 1.0), ("tfmlc", 20.0)) and small.sets == ("OneBlur",) and small.batch == 4
    assert guests.named("mprnet-lite-fmlc", SETTING).loss == (
        ("stages-charbonnier", 1.0),
        ("stages-edge", 0.05),
        ("fmlc", 1.0),
    )


def test_the_papers_recipes():
    known = guests.specs(Setting(profiles.get("paper"), progress=False))
    hinet, mprnet = known["hinet-fmlc"], known["mprnet-lite-fmlc"]
    assert hinet.network.sizes == (64,) and (hinet.steps, hinet.batch, hinet.patch) == (20_000, 4, 256)
    assert {"betas": (0.9, 0.99), "clip": 0.01, "weight_decay": 0.0}.items() <= dict(hinet.recipe).items()
    assert (mprnet.steps, mprnet.batch) == (420_600, 1) and dict(mprnet.recipe)["betas"] == (0.9, 0.999)
    end = cosine(200, 3197, 1e-6, 1e-9)  # of the released schedule
    assert dict(mprnet.recipe)["min_learning_rate"] == pytest.approx(end, rel=1e-3)


def test_a_row_is_trained_on_from_its_network(home, monkeypatch):
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings
    row = guests.named("hinet-control", SETTING)
    small = {"network": replace(row.network, sizes=(2,)), "patch": 32, "batch": 2, "steps": 1}
    row = replace(row, **small, starts_from=replace(row.starts_from, **small))
    run, origin = guests.obtain(row, SETTING), guests.obtain(row.starts_from, SETTING)
    assert run.model.config.sizes == (2,) and not run.model.training
    assert run.spec.starts_from == origin.spec and len(list(home.glob("results/*/runs/*"))) == 2  # trained once
    moved = [
        (a - b).detach().abs().max().item()
        for a, b in zip(run.model.parameters(), origin.model.parameters(), strict=True)
    ]
    assert 0 < max(moved) < 2e-4  # one step of Adam at a tenth of the learning rate


def test_every_file_of_a_loss_is_part_of_its_identity(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"weights")
    monkeypatch.setattr(weight_files, "weights_file", lambda name: tmp_path / "file")
    full = terms.identified(guests.named("hinet-tfmlc", SETTING))
    assert {"weights clip-b16", "weights tfmlc-adapter"} <= set(dict(full.data))
    assert terms.identified(full) == full and full.starts_from.code == full.code


def test_what_is_missing_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(weight_files.WeightsMissing, match=r"CLIP ResNet-50.*\$DEMOE_CLIP_RN50 names no file"):
        terms.LOSSES["fmlc-rn50"].make()
    with pytest.raises(weight_files.WeightsMissing, match=r"\$DEMOE_TFMLC names no file.*your own training"):
        weight_files.weights_file("tfmlc-adapter")


def test_all_stages_of_mprnet_are_trained():
    pytest.importorskip("spandrel_extra_arches")
    network = guests.named("mprnet-lite", SETTING).network
    model = guests.Steered(**vars(network))
    assert sum(p.numel() for p in model.parameters()) == 6_376_449
    with torch.no_grad():
        output = model.eval()(torch.rand(1, 3, 16, 16))
    assert len(output.pictures) == 3 and output.image is output.pictures[-1]
