"""One optimiser step: micro-batches, recomputed activations, mixed precision, and several processes."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from conftest import shake
from stage_losses import pixel_loss
from test_loop import random_sets
from torch import nn

from demoe.core.files import damaged
from demoe.data.batches import Batch, Batches, Share
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.layers import PictureConv2d, checkpointing, fusing
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training import distributed, stages
from demoe.training.loop import train
from demoe.training.step import TrainStep

SIZES = {"encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}


def batch(count=4, size=20):
    generator = torch.Generator().manual_seed(1)
    sharp = torch.rand(count, 3, size, size, generator=generator)
    blurred = (sharp + 0.1 * torch.rand(sharp.shape, generator=generator)).clamp(0, 1)
    return Batch(blurred, sharp, torch.arange(count) % 5)


class Idle(NAFNet):
    """Something of what it says depends on a parameter that no loss here sees."""

    def __init__(self, config):
        super().__init__(config)
        self.idle = nn.Parameter(torch.zeros(5))

    def forward(self, x):
        return super().forward(x)._replace(logits=self.idle.expand(len(x), 5))


def network(kind):
    torch.manual_seed(0)
    if kind == "idle":
        return shake(Idle(NAFNetConfig(4, **SIZES))), pixel_loss
    if kind == "nafnet":
        return shake(NAFNet(NAFNetConfig(4, **SIZES))), pixel_loss
    model = shake(DeMoE(DeMoEConfig(4, **SIZES)))
    stages.freeze(model)
    return model, pixel_loss


def gradients(kind, **options):
    model, loss = network(kind)
    checkpointing(model, options.pop("checkpointing", False))
    stages.training_mode(model)
    optimizer = torch.optim.AdamW(stages.trainable(model), lr=0.0)
    kept = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        p.register_post_accumulate_grad_hook(lambda p, name=name: kept.__setitem__(name, p.grad.clone()))
    losses, norm = TrainStep(model, loss, optimizer, **options)(batch())
    return losses["total"], norm, kept


@pytest.mark.parametrize("kind", ["nafnet", "demoe"])
@pytest.mark.parametrize("options", [{"accumulate": 2}, {"accumulate": 4}, {"checkpointing": True}], ids=str)
def test_savings_of_memory_change_no_gradient(kind, options):
    plain, other = gradients(kind), gradients(kind, **options)
    torch.testing.assert_close(other[0], plain[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(other[1], plain[1], rtol=1e-4, atol=0)
    assert plain[2].keys() == other[2].keys()
    for name, expected in plain[2].items():
        assert (other[2][name] - expected).abs().max() <= 1e-4 * expected.abs().max() + 1e-8, name


def test_gradients_longer_than_the_clip_are_shortened_to_it():
    moved, norms = {}, {}
    for clip in (0.0, 1e-3, 1e3):
        model, loss = network("nafnet")
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        _, norms[clip] = TrainStep(model, loss, optimizer, clip=clip)(batch())
        steps = [after.detach() - start for after, start in zip(model.parameters(), before, strict=True)]
        moved[clip] = torch.nn.utils.get_total_norm(steps)
    assert norms[0.0] == norms[1e-3] == norms[1e3] > 1e-3  # of before
    torch.testing.assert_close(moved[1e-3], torch.tensor(1e-3), rtol=1e-3, atol=0)
    assert moved[1e3] == moved[0.0]


def test_checkpointing_keeps_less(monkeypatch):
    kept = {}
    for on in (False, True):
        model, loss = network("nafnet")
        fusing(model, False)  # else there is little to save
        checkpointing(model, on)
        total, seen = [0], set()

        def pack(x, total=total, seen=seen):
            if x.untyped_storage().data_ptr() not in seen:
                seen.add(x.untyped_storage().data_ptr())
                total[0] += x.numel() * x.element_size()
            return x

        data = batch(2, 64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss(model.train()(data.blurred), data)["total"].backward()
        kept[on] = total[0]
    assert kept[True] < kept[False] / 4


def test_bfloat16_follows_float32_and_leaves_pictures_alone():
    plain, half = gradients("nafnet"), gradients("nafnet", precision="bfloat16")
    torch.testing.assert_close(half[0], plain[0], rtol=0.02, atol=0)
    assert not torch.equal(half[0], plain[0])
    joined = {
        key: torch.cat([value.flatten() for value in part[2].values()])
        for key, part in {"plain": plain, "half": half}.items()
    }
    assert torch.nn.functional.cosine_similarity(joined["plain"], joined["half"], dim=0) > 0.99
    convolution, x = PictureConv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = convolution(x)
    assert inside.dtype == torch.float32 and torch.equal(inside, convolution(x))


def test_a_batch_that_cannot_be_cut_or_shared():
    model, loss = network("nafnet")
    step = TrainStep(model, loss, torch.optim.AdamW(model.parameters()), accumulate=3)
    with pytest.raises(ValueError, match="a batch of 4 cannot be cut into 3 equal parts"):
        step(batch())
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared equally by 3 processes"):
        Share(1, 3).of(0, 4)


def test_shares_make_up_the_batch():
    assert [list(Share(which, 2).of(3, 6)) for which in range(2)] == [[18, 19, 20], [21, 22, 23]]


ACCUMULATE = {"nafnet": 1, "demoe": 2, "idle": 2}
# First the loop itself, then the command twice, with batches that two processes can share; each time they meet anew.
TWO = """
import os, pathlib, sys
import torch
from test_step import ACCUMULATE, trained
from demoe.app import cli
from demoe.core import profiles
from demoe.training import distributed
torch.set_num_threads(1)
folder, *ports = sys.argv[1:]
with distributed.processes():
    for kind in ACCUMULATE:
        trained(kind, pathlib.Path(folder) / kind)
failed = 0
profiles.PROFILES["test"] = profiles.get("test", batch=4, train_images=1, image_size=48, stage1_steps=3, stage2_steps=2)
for port, fresh in zip(ports, (["--fresh"], [])):
    if os.environ["RANK"] == "0":
        print("once more", file=sys.stderr, flush=True)
    os.environ.update(MASTER_PORT=port, TORCHELASTIC_USE_AGENT_STORE="False")
    failed = failed or cli.main(["train", "--profile", "test", *fresh])
sys.exit(failed)
"""


def trained(kind, folder):
    """Six steps in as many processes as there are."""
    model, loss = network(kind)
    train(
        model,
        Batches(random_sets(), 16, 4, 5),
        loss,
        folder,
        steps=6,
        log_every=1,
        checkpoint_every=3,
        progress=False,
        accumulate=ACCUMULATE[kind],
    )
    if distributed.rank() == 0:
        torch.save(model.state_dict(), folder / "weights.pt")


def two(folder):
    """What two processes wrote to ``folder`` and said that have trained all of ``TWO``."""
    folder.mkdir()
    script = folder / "two.py"
    script.write_text(TWO)
    here = os.path.dirname(__file__)
    paths = os.pathsep.join([os.path.dirname(here), here, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "DEMOE_HOME": str(folder)}
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        ports = [str(free.getsockname()[1]) for free in (one, other)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*command, str(folder), *ports], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_two_processes_train_as_one(tmp_path):
    """All in one test: the processes take seconds to start, and tests that share them may run on several workers."""
    done = two(tmp_path / "two")
    for kind in ACCUMULATE:
        same_as_alone(kind, tmp_path / "one" / kind, tmp_path / "two" / kind)
    trained_once_and_then_loaded(tmp_path / "two", done)


def same_as_alone(kind, alone, together):
    """The same loss curve and, to rounding, the same weights: two gloo processes share every batch."""
    trained(kind, alone)
    curves, weights = {}, {}
    for name, folder in {"one": alone, "two": together}.items():
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        curves[name] = [(line["step"], line["total"], line["images"]) for line in lines]
        weights[name] = torch.load(folder / "weights.pt")
    assert len(curves["one"]) == 6 and [line[0] for line in curves["two"]] == list(range(6))
    for one, two in zip(curves["one"], curves["two"], strict=True):
        assert two[1] == pytest.approx(one[1], rel=2e-5) and two[2] == one[2]
    for name, expected in weights["one"].items():
        assert (weights["two"][name] - expected).abs().max() < 2e-4, name


def trained_once_and_then_loaded(folder, done):
    first, second = done.stdout.strip().split("\n")  # one line each
    assert first == second and first.endswith("model.safetensors")
    _, begun, again = done.stderr.split("once more")
    assert "step/s" in begun and "step/s" not in again  # nothing was trained again
    folders = [file.parent for file in (folder / "results/test/runs").glob("*/SHA256SUMS")]
    assert sorted(run.name.split("-")[0] for run in folders) == ["baseline", "demoe"]
    assert not any(damaged(run) or (run / "state").exists() for run in folders)
