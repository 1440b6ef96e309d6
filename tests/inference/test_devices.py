"""Which device is chosen, and that nothing but ``exact`` asks a device for float64, which Apple's GPUs lack."""

import pytest
import torch
from conftest import shake
from torch.utils._python_dispatch import TorchDispatchMode

from demoe.app import cli, networks
from demoe.core import devices, images
from demoe.inference import fold, guard, strip_operations
from demoe.inference.tiles import restore_large
from demoe.models.demoe import DeMoE, DeMoEConfig


@pytest.mark.parametrize(
    ("cuda", "mps", "auto"), [(True, True, "cuda"), (False, True, "mps"), (True, False, "cuda"), (False, False, "cpu")]
)
def test_auto_is_the_first_that_is_there(monkeypatch, cuda, mps, auto):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.choose() == devices.choose("auto") == auto and devices.choose("cpu") == "cpu"
    for name, there in (("cuda", cuda), ("cuda:0", cuda), ("mps", mps)):
        if there:
            assert devices.choose(name) == name
        else:
            with pytest.raises(
                ValueError, match=r"no GPU of \w+ can be used on this machine: choose the device auto or cpu"
            ):
                devices.choose(name)


def test_the_commands_take_every_device_and_say_what_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    photo = tmp_path / "a.png"
    images.write_photograph(photo, images.Photograph(torch.rand(3, 8, 8)))
    assert cli.main(["deblur", str(photo), "-o", str(tmp_path / "out"), "--device", "mps"]) != 0
    assert "no GPU of Apple can be used on this machine" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no GPU of Apple"):
        networks.default_model(device="mps")
    for command in ("deblur", "frames"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert f"--device {{{','.join(devices.DEVICES)}}}" in capsys.readouterr().out


class NoFloat64(TorchDispatchMode):
    """As on an Apple GPU: no operation may give float64."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for found in out if isinstance(out, tuple | list) else (out,):
            assert not (isinstance(found, torch.Tensor) and found.dtype == torch.float64), f"{function} gives float64"
        return out


def test_the_guard_asks_no_device_for_float64(monkeypatch):
    torch.manual_seed(0)
    model = shake(DeMoE(DeMoEConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))))
    photo, asked = torch.rand(3, 40, 60), []

    def entropy(shares):
        assert isinstance(shares, list)  # on the host
        asked.append(shares)
        return torch.tensor(1.0)

    def apple(x):
        return x.float()

    monkeypatch.setattr(guard, "normalised_entropy", entropy)
    for room in (fold, strip_operations, guard):
        monkeypatch.setattr(room, "exact", apple)
    watch = guard.Guard(photo)  # looks at the photograph on the host
    with NoFloat64():
        watch.checked(restore_large(model, photo, expert=watch).image)
    assert asked and watch.reason


@pytest.mark.parametrize("ways", [{}, {"tile": 256}, {"tile": 256, "route": "tile"}])
def test_float64_is_asked_for_through_exact_alone(monkeypatch, ways):
    torch.manual_seed(0)
    model = shake(DeMoE(DeMoEConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))))
    photo = torch.rand(3, 270, 40)
    whole = restore_large(model, photo, **ways).image
    asked = []

    def apple(x):
        asked.append(x.dtype)
        return x.float()  # the digits that are lost do not matter here

    for room in (fold, strip_operations):
        monkeypatch.setattr(room, "exact", apple)
    with NoFloat64():
        out = restore_large(shake(model, 0), photo, **ways)
    assert asked and (out.image - whole).abs().max() < 1e-3
