import json
import math
import shutil
import signal
import time

import pytest
import torch
from conftest import shake
from stage_losses import pixel_and_class_loss

from demoe.data.batches import Batches
from demoe.data.pairs import PairedSet
from demoe.models.nafnet import NAFNet, NAFNetConfig
from demoe.training.interruption import interruption
from demoe.training.loop import OutOfTime, cosine, measure_statistics, train
from demoe.training.state import step_of

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
            train(
                model,
                Interrupted(),
                pixel_and_class_loss(1e-3),
                folder,
                steps=steps,
                checkpoint_every=every,
                log_every=1,
                progress=False,
                **options,
            )
        return None
    return train(
        model,
        batches,
        pixel_and_class_loss(1e-3),
        folder,
        steps=steps,
        checkpoint_every=every,
        log_every=1,
        progress=False,
        **options,
    )


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


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_slices_of_time_equal_one_undisturbed_run_bit_for_bit(tmp_path, average):
    """Every slice ends after its first step, whose state goes to another folder: another machine's."""
    whole = run(tmp_path / "whole", average=average)
    for step in range(1, 9):
        with pytest.raises(OutOfTime, match=f"after step {step} of 9") as stopped:
            run(tmp_path / str(step), average=average, deadline=time.monotonic() - 1)
        assert (stopped.value.step, stopped.value.steps) == (step, 9)
        shutil.copytree(tmp_path / str(step), tmp_path / str(step + 1))
    sliced = run(tmp_path / "9", average=average, deadline=time.monotonic() - 1)
    pairs = zip(whole.state_dict().values(), sliced.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert log(tmp_path / "whole") == log(tmp_path / "9")


def test_the_average_of_the_weights_lies_between_start_and_end(tmp_path):
    end, mean = run(tmp_path / "end"), run(tmp_path / "mean", average=0.5)
    torch.manual_seed(0)
    start = shake(NAFNet(TINY))
    for (name, first), last, between in zip(start.named_parameters(), end.parameters(), mean.parameters(), strict=True):
        assert (last - between).norm() < (last - first).norm() + 1e-7, name
    with pytest.raises(AssertionError):
        for a, b in zip(end.parameters(), mean.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_averaged_weights_come_with_statistics_of_their_own(tmp_path):
    mean = run(tmp_path, average=0.5)
    kept = {name: value.clone() for name, value in mean.named_buffers()}
    measure_statistics(mean, map(Batches(random_sets(), patch=16, batch=3, seed=5).__getitem__, range(9)))
    for name, value in mean.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, kept[name])


def test_who_watches_changes_nothing_and_sees_the_weights_of_its_step(tmp_path):
    seen, lines = {}, []

    def watch(step, model):
        assert not model.training
        seen[step] = [p.detach().clone() for p in model.parameters()]
        torch.rand(3)
        for p in model.parameters():
            p.data.zero_()

    plain = run(tmp_path / "plain")
    watched = run(tmp_path / "watched", watch=watch, watch_every=4, logged=lines.append)
    assert list(seen) == [4, 8, 9] and log(tmp_path / "plain") == log(tmp_path / "watched")
    assert [line["step"] for line in lines] == list(range(9))
    for one, other, last in zip(plain.parameters(), watched.parameters(), seen[9], strict=True):
        assert torch.equal(one, other) and torch.equal(one, last)


def test_the_first_ctrl_c_saves_the_state_and_the_second_stops_at_once(tmp_path):
    def once(line):
        if line["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", every=100, logged=once)
    assert step_of(tmp_path / "broken/state") == 5  # the step after the signal is done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = run(tmp_path / "broken")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with interruption() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what runs in the background
    with interruption() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert not interrupted()
    signal.signal(signal.SIGINT, before)


def test_a_log_line_cut_by_a_crash_is_dropped(tmp_path):
    run(tmp_path, stop_after=5)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "tot')
    run(tmp_path)
    assert [line["step"] for line in log(tmp_path)] == list(range(9))


def test_training_learns_and_logs(tmp_path):
    model = run(tmp_path, steps=60, every=50)
    lines = log(tmp_path)
    assert set(lines[0]) == {"step", "total", "pixel", "class", "accuracy", "grad_norm", "lr", "images"}
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
        train(model, Batches(random_sets(), 16, 2), pixel_and_class_loss(1e-3), tmp_path, steps=2, progress=False)


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
        train(NAFNet(TINY), Poisoned(), pixel_and_class_loss(1e-3), tmp_path, **options)
    assert step_of(tmp_path / "state") == 3
    kept = torch.load(next((tmp_path / "state").glob("*.pt")))
    assert all(value.isfinite().all() for value in kept["model"].values())
    train(NAFNet(TINY), batches, pixel_and_class_loss(1e-3), tmp_path, **options)


# The command `demoe train` with a stage that, once begun, does not get beyond its middle: it can be killed there.
