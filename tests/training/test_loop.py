import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import shake

from demoe.data.batches import Batches
from demoe.data.pairs import PairedSet
from demoe.model.nafnet import NAFNet, NAFNetConfig
from demoe.training.loop import cosine, train
from demoe.training.losses import stage1_loss

TINY = NAFNetConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,), router=True)


def random_sets(size=24):
    generator = torch.Generator().manual_seed(0)
    sets = []
    for name in ("DPDD-syn", "RealBlur-syn", "ReLoBlur-syn", "GoPro-syn", "LOLBlur-syn"):
        pixels = torch.randint(0, 256, (3, 2, 3, size, size), dtype=torch.uint8, generator=generator)


        def read(i, window=None, pixels=pixels):
            top, left, height, width = window or (0, 0, size, size)
            return tuple(pixels[i, :, :, top : top + height, left : left + width])

        sets.append(PairedSet(name, "synthetic", ["a", "b", "c"], read, lambda i: (size, size)))
    return sets


def run(folder, stop_after=None, steps=9, every=2, **options):
    torch.manual_seed(0)
    model = shake(NAFNet(TINY))
    batches = Batches(random_sets(), patch=16, batch=3, seed=5)
    if stop_after is not None:

        class Interrupted:
            def __getitem__(self, step):
                if step == stop_after:
                    raise KeyboardInterrupt
                return batches[step]

        with pytest.raises(KeyboardInterrupt):
            train(model, Interrupted(), stage1_loss(1e-3), folder, steps=steps, checkpoint_every=every, log_every=1,
                  progress=False, **options)
        return None
    return train(model, batches, stage1_loss(1e-3), folder, steps=steps, checkpoint_every=every, log_every=1,
                 progress=False, **options)


def log(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "waited")} for line in lines]


def test_cosine_runs_from_start_to_end():
    assert cosine(0, 100, 1e-3, 1e-7) == pytest.approx(1e-3)
    assert cosine(50, 100, 1e-3, 1e-7) == pytest.approx((1e-3 + 1e-7) / 2)
    assert cosine(100, 100, 1e-3, 1e-7) == pytest.approx(1e-7)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3), T_max=10, eta_min=1e-7
    )
    for step in range(10):
        assert cosine(step, 10, 1e-3, 1e-7) == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        reference.optimizer.step()
        reference.step()


@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_interrupted_and_resumed_equals_undisturbed_bit_for_bit(tmp_path, stop_after):
    whole = run(tmp_path / "whole")
    run(tmp_path / "broken", stop_after=stop_after)
    resumed = run(tmp_path / "broken")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert log(tmp_path / "whole") == log(tmp_path / "broken")
    assert [line["step"] for line in log(tmp_path / "broken")] == list(range(9))


def test_a_log_line_cut_by_a_crash_is_dropped(tmp_path):
    run(tmp_path, stop_after=5)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "tot')
    run(tmp_path)
    assert [line["step"] for line in log(tmp_path)] == list(range(9))


def test_training_learns_and_logs(tmp_path):
    model = run(tmp_path, steps=60, every=50)
    lines = log(tmp_path)
    assert set(lines[0]) == {"step", "total", "pixel", "class", "accuracy", "grad_norm", "lr"}
    early, late = (sum(line["total"] for line in part) / 10 for part in (lines[:10], lines[-10:]))
    assert late < early
    assert all(line["grad_norm"] > 0 for line in lines)
    assert not model.training


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    torch.manual_seed(0)
    model = NAFNet(TINY)
    with torch.no_grad():
        model.ending.bias.fill_(math.inf)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(model, Batches(random_sets(), 16, 2), stage1_loss(1e-3), tmp_path, steps=2, progress=False)


def test_a_checkpoint_never_holds_a_loss_that_is_not_finite(tmp_path):
    """Else the run could not be continued: the loss goes wrong between two logged steps, just before a checkpoint."""
    batches = Batches(random_sets(), 16, 2)

    class Poisoned:
        def __getitem__(self, step):
            batch = batches[step]
            return batch._replace(sharp=batch.sharp * math.nan) if step == 5 else batch

    torch.manual_seed(0)
    options = {"steps": 9, "checkpoint_every": 3, "log_every": 100, "progress": False}
    with pytest.raises(FloatingPointError, match="step 5"):
        train(NAFNet(TINY), Poisoned(), stage1_loss(1e-3), tmp_path, **options)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 3 and all(value.isfinite().all() for value in state["model"].values())
    train(NAFNet(TINY), batches, stage1_loss(1e-3), tmp_path, **options)


# The command `demoe train` with a profile long enough to be killed in the middle of.
LONGER = (
    "import sys; from dataclasses import replace; from demoe import cli, profiles;"
    "longer = dict(stage1_steps=40, stage2_steps=40, checkpoint_every=5);"
    "profiles.PROFILES['test'] = replace(profiles.PROFILES['test'], **longer);"
    "sys.exit(cli.main(sys.argv[1:]))"
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("killed_in", ["baseline", "demoe"])
def test_killed_for_good_and_started_again(tmp_path, killed_in):
    """kill -9 in the middle of a stage, through the real command: the weights equal an undisturbed run's."""
    command = [sys.executable, "-c", LONGER, "train", "--profile", "test", "--experiment", killed_in]

    def environment(home):
        return os.environ | {"DEMOE_HOME": str(home), "OMP_NUM_THREADS": "1"}

    weights = {}
    for name in ("whole", "killed"):
        home = tmp_path / name
        if name == "killed":
            process = subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            deadline = time.time() + 120
            while not list(home.glob(f"results/test/runs/{killed_in}-*/state.pt")):
                assert time.time() < deadline and process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            assert not list(home.glob(f"results/test/runs/{killed_in}-*/model.safetensors"))
        subprocess.run(command, env=environment(home), check=True, capture_output=True)
        (file,) = home.glob(f"results/test/runs/{killed_in}-*/model.safetensors")
        weights[name] = file
    from demoe.model import checkpoints

    whole, killed = (checkpoints.load(file).state_dict() for file in weights.values())
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
