"""Table 4 of the semantic prior as experiments: what is trained, its two controls, its terms by name."""

from dataclasses import replace

import pytest
import torch

from demoe.core import profiles
from demoe.data.batches import Batch
from demoe.data.setting import Setting
from demoe.experiments import runs
from demoe.models.outputs import Restored
from demoe.related import experiments as guests
from demoe.related import teachers, terms, weight_files
from demoe.related.steered import parameters

TINY = profiles.get("test", guest_steps=2, train_images=1, test_images=1, image_size=48)
SETTING = Setting(TINY, progress=False)


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    monkeypatch.setattr(runs, "workers_for", lambda sets: 0)  # starting them takes longer than these trainings


def test_the_rows_differ_in_what_the_table_says():
    rows = {name: guests.named(f"prior-{name}", SETTING) for name in guests.PRIORS}
    parts = {name: (row.network.mode, row.network.clc, row.network.mla) for name, row in rows.items()}
    assert parts["net1"] == ("add", False, False) and parts["net2"] == ("concat", False, False)
    assert parts["net3"] == ("sat", False, False) and parts["net4"] == ("sat", True, False)
    assert parts["net5"] == ("sat", False, True) and parts["net6"] == ("sat", True, True)
    assert parts["net0"][0] == parts["net0-wide"][0] == ""
    for name in ("net0-star", "net6-random"):  # what is trained is Net6: the loss alone differs
        assert replace(rows[name], name="", about="", loss=()) == replace(rows["net6"], name="", about="", loss=())
    assert dict(rows["net0-star"].loss) == {"pixel": 1} and dict(rows["net6"].loss) == {"pixel": 1, "prior": 0.1}
    assert len({row.folder(SETTING).name for row in rows.values()}) == len(rows)


def test_the_wide_control_is_as_large_as_net6():
    for name in ("smoke", "cpu", "paper"):
        known = guests.specs(Setting(profiles.get(name), progress=False))
        sizes = [parameters(known[f"prior-{row}"].network) for row in ("net0-wide", "net6")]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.03)


@pytest.mark.parametrize("name", ["prior-net0", "prior-net6", "mimo-unet-sp", "mprnet-stage1-sp"])
def test_a_training_starts_from_the_input(name):
    model, x = guests.Steered(**vars(guests.named(name, SETTING).network)).eval(), torch.rand(1, 3, 32, 32)
    output = model(x).image
    torch.testing.assert_close(output, x)
    (output - torch.rand_like(x)).square().mean().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_a_row_is_trained_and_kept_with_its_teachers_statistics(home):
    spec = replace(guests.named("prior-net6-random", SETTING), patch=32, batch=2)
    run = guests.obtain(spec, SETTING)
    student = run.model.network.student
    assert student.measured and run.model.config == spec.network and not run.model.training
    again = guests.obtain(spec, SETTING).model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in run.model.state_dict().items())
    log = (run.folder / "metrics.jsonl").read_text()
    assert '"prior-random"' in log


def test_terms_of_all_stages_take_any_network():
    known = terms.terms()
    output, batch = Restored(torch.rand(1, 3, 8, 8)), Batch(*torch.rand(2, 1, 3, 8, 8), torch.zeros(1))
    torch.testing.assert_close(known["stages"](output, batch), (output.image - batch.sharp).abs().mean())
    assert known["stages-frequency"](output, batch) > 0
    with pytest.raises(ValueError, match="only a network with a prior"):
        known["prior-random"](output, batch)


def test_a_loss_whose_package_is_missing_leaves_out_its_row(home, monkeypatch):
    """The others are trained; and what is there is not forgotten for one that cannot be."""
    wanted = [guests.named(name, SETTING) for name in ("prior-net0", "prior-net6-random")]
    done = guests.obtain(wanted[0], SETTING)

    def gone():
        raise ModuleNotFoundError("pip install it")

    monkeypatch.setitem(terms.LOSSES, "prior-random", terms.LOSSES["prior-random"]._replace(make=gone))
    runs, missing = guests.obtain_all(wanted, SETTING)
    assert list(runs) == ["prior-net0"] and missing == {"prior-net6-random": "pip install it"}
    with pytest.raises(ModuleNotFoundError):
        guests.obtain(wanted[1], SETTING, fresh=True)
    assert (done.folder / "model.safetensors").is_file()


def test_the_papers_teacher_is_said_to_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.delenv("DEMOE_TRESNET", raising=False)
    with pytest.raises(weight_files.WeightsMissing, match=r"TResNet-L on OpenImages.*DEMOE_TRESNET"):
        terms.identified(guests.named("prior-net6-tresnet", SETTING))
    monkeypatch.setenv("DEMOE_TRESNET", str(tmp_path / "weights.pth"))
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        teachers.load_tresnet(weight_files.weights_file("tresnet-l"))
