"""Checkpoints: what is saved comes back, public releases load strictly, everything else is refused in one sentence."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from demoe.models import checkpoints
from demoe.models.checkpoint_files import CheckpointError
from demoe.models.checkpoints import load, save
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.experts import EXPERT_BLOCKS
from demoe.models.nafnet import NAFNet, NAFNetConfig

SMALL = DeMoEConfig(width=4, encoder_blocks=(1, 2), middle_blocks=1, decoder_blocks=(2, 1))


def awake(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random values in every tensor: a fresh NAFBlock is the identity, which would hide exchanged weights."""
    generator = torch.Generator().manual_seed(seed)
    for value in [*network.parameters(), *network.buffers()]:
        if value.is_floating_point():
            value.data = torch.rand(value.shape, generator=generator) * 0.2 + 0.01
    return network.eval()


def picture(height: int = 21, width: int = 34) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    assert one.config == other.config and not other.training
    for (key, value), (other_key, other_value) in zip(
        one.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert key == other_key and value.dtype == other_value.dtype and torch.equal(value, other_value)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(outputs(one), outputs(other), strict=True))


def outputs(network: torch.nn.Module) -> list[torch.Tensor]:
    if isinstance(network, DeMoE):
        return [*network(picture(), k=3), *network(picture(), expert=["defocus", None])]
    return [value for value in network(picture()) if value is not None]


def refusal(path) -> str:
    """The message of the refusal: one sentence on one line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and message.endswith(".")
    assert len(message) < 300 + len(str(path))
    return message


CONFIGS = [
    SMALL,
    DeMoEConfig(width=4, encoder_blocks=(1,), middle_blocks=2, decoder_blocks=(1,), num_experts=3),
    DeMoEConfig(width=3, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1), moe_per_level=2),
    NAFNetConfig(width=4, encoder_blocks=(1, 3), middle_blocks=2, decoder_blocks=(2, 1)),
    NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1), router=True),
]


def network_of(config) -> torch.nn.Module:
    return (DeMoE if isinstance(config, DeMoEConfig) else NAFNet)(config)


@pytest.fixture(scope="module")
def small() -> DeMoE:
    return awake(network_of(SMALL))


@pytest.mark.parametrize("config", [*CONFIGS, DeMoEConfig(4, (1,), 1, (1,), fusion="attention")], ids=str)
def test_our_own_files_come_back_unchanged(config, tmp_path):
    network = awake(network_of(config))
    path = save(network, tmp_path / "new folder" / "model.safetensors", {"seed": 3, "commit": "abc"})
    assert_same(network, load(path))
    assert checkpoints.provenance(path) == {"seed": 3, "commit": "abc"}
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_form_of_release(small, zipped, prefix, wrapper, tmp_path):
    state = {prefix + key: value for key, value in small.state_dict().items()}
    path = tmp_path / "DeMoE.pt"
    torch.save({wrapper: state} if wrapper else state, path, _use_new_zipfile_serialization=zipped)
    assert_same(small, load(path))


def prefixed(prefix, small):
    return {prefix + key: value for key, value in small.state_dict().items()}


SAVED = {  # as people save a network
    "compiled": lambda net: prefixed("_orig_mod.", net),
    "compiled, then DDP": lambda net: prefixed("module._orig_mod.", net),
    "DDP, then compiled": lambda net: {"model": prefixed("_orig_mod.module.", net)},
    "a compiled part": lambda net: {
        key.replace("downs.", "downs._orig_mod."): v for key, v in prefixed("", net).items()
    },
    "Lightning": lambda net: {"state_dict": prefixed("model.", net), "epoch": 3},
    "Lightning, compiled": lambda net: {"state_dict": prefixed("net_g._orig_mod.", net)},
    "a part of a part": lambda net: {"state_dict": prefixed("system.net.module.", net)},
    "DeepSpeed": lambda net: {"module": prefixed("", net), "ds_version": "0.1"},
    "FSDP, parts of it recomputed": lambda net: {
        key.replace("downs.", "downs._checkpoint_wrapped_module."): v
        for key, v in prefixed("_fsdp_wrapped_module.", net).items()
    },
    "a name of their own": lambda net: {"netG": prefixed("", net), "config": {"lr": 0.1}},
    "nested, names of their own": lambda net: {"checkpoint": {"ema": {"shadow": prefixed("", net), "decay": 0.9}}},
    "numbers called params": lambda net: {"params": {"width": 8}, "state_dict": prefixed("", net)},
    "nested": lambda net: {"ema": {"module": prefixed("", net)}},
    "an average": lambda net: prefixed("module.", net) | {"n_averaged": torch.tensor(9)},
    "operations counted": lambda net: (
        prefixed("", net) | {"total_ops": torch.zeros(1), "downs.0.total_params": torch.ones(1)}
    ),
    "without counters": lambda net: {k: v for k, v in prefixed("", net).items() if "num_batches" not in k},
}


@pytest.mark.parametrize("form", SAVED)
def test_networks_as_people_save_them(small, form, tmp_path, capsys):
    torch.save(SAVED[form](small), tmp_path / "net.pth")
    loaded = load(tmp_path / "net.pth")
    for name, value in small.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value) or name.endswith("num_batches_tracked"), name
    assert capsys.readouterr().err == ""


def test_of_several_networks_one_is_taken_and_said(small, tmp_path, capsys):
    other = {key: torch.zeros_like(value) for key, value in small.state_dict().items()}
    torch.save({"ema": other, "model": small.state_dict()}, tmp_path / "both.pth")
    assert_same(small, load(tmp_path / "both.pth"))
    assert "'model' is taken of" in (said := capsys.readouterr().err) and "'ema' left" in said
    lightning = {"ema." + key: value for key, value in other.items()} | prefixed("model.", small)
    torch.save({"state_dict": lightning | {"vgg.0.weight": torch.zeros(3)}}, tmp_path / "parts.pth")
    assert_same(small, load(tmp_path / "parts.pth"))
    assert "'model.' is taken of" in (said := capsys.readouterr().err) and "'ema', 'vgg' left" in said


@pytest.mark.filterwarnings("ignore")  # quantized tensors and TorchScript are going out of PyTorch
def test_quantized_tensors_and_torchscript_are_refused(small, tmp_path):
    state = small.state_dict()
    name = next(name for name, value in state.items() if value.ndim == 4)
    torch.save(state | {name: torch.quantize_per_tensor(state[name], 0.1, 0, torch.qint8)}, tmp_path / "a.pth")
    assert "not a plain tensor" in refusal(tmp_path / "a.pth")
    torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4)).save(tmp_path / "b.pt")
    assert "TorchScript" in refusal(tmp_path / "b.pt")


def test_prefixes_do_not_excuse_a_tensor_that_is_missing_or_too_much(small, tmp_path):
    state = prefixed("model.", small)
    del state["model.ending.bias"]
    torch.save({"state_dict": state}, tmp_path / "less.pth")
    assert "needs 'ending.bias'" in refusal(tmp_path / "less.pth")
    torch.save({"state_dict": prefixed("model.", small) | {"model.z.weight": torch.zeros(1)}}, tmp_path / "more.pth")
    assert "'z.weight'" in refusal(tmp_path / "more.pth")
    torch.save(prefixed("", small) | prefixed("module.", small), tmp_path / "twice.pth")
    assert "with and without a prefix" in refusal(tmp_path / "twice.pth")


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_configuration_is_read_off_the_tensors(config, tmp_path):
    network = awake(network_of(config))
    torch.save({"params": network.state_dict()}, tmp_path / "DeMoE.pt")
    assert_same(network, load(tmp_path / "DeMoE.pt"))


def test_params_are_preferred_to_their_running_average(small, tmp_path):
    average = {key: torch.zeros_like(value) for key, value in small.state_dict().items()}
    torch.save({"params_ema": average, "params": small.state_dict(), "epoch": 3}, tmp_path / "DeMoE.pt")
    assert_same(small, load(tmp_path / "DeMoE.pt"))


@pytest.mark.parametrize("width", [32, 64])
def test_public_nafnet_sizes(width, tmp_path):
    config = NAFNetConfig(width, (1, 1, 1, 28), 1, (1, 1, 1, 1))
    network = NAFNet(config)
    torch.save({"params": network.state_dict()}, tmp_path / f"NAFNet-GoPro-width{width}.pth")
    loaded = load(tmp_path / f"NAFNet-GoPro-width{width}.pth")
    assert loaded.config == config
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), loaded.parameters(), strict=True))


def test_public_demoe_size(tmp_path):
    network = DeMoE(DeMoEConfig())
    torch.save({"params": network.state_dict()}, tmp_path / "DeMoE.pt")
    assert load(tmp_path / "DeMoE.pt").config == DeMoEConfig()


@pytest.mark.parametrize("kind", EXPERT_BLOCKS)
def test_kind_of_expert_is_recognised(kind, tmp_path):
    config = DeMoEConfig(16, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,), num_experts=2, expert=kind)
    network = DeMoE(config)
    torch.save({"params": network.state_dict()}, tmp_path / "DeMoE.pt")
    loaded = load(tmp_path / "DeMoE.pt")
    assert loaded.config == config
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), loaded.parameters(), strict=True))


def test_half_is_smaller_and_widened_on_loading(small, tmp_path):
    whole, half = save(small, tmp_path / "whole.safetensors"), save(small, tmp_path / "half.safetensors", half=True)
    with safe_open(half, framework="pt") as file:
        assert file.get_tensor("intro.weight").dtype == torch.float16
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    loaded = load(half)
    for (key, value), other in zip(small.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert other.dtype == value.dtype, key
        assert torch.equal(other, value.half().to(value.dtype) if value.is_floating_point() else value), key


def test_same_network_same_bytes(small, tmp_path):
    first = save(small, tmp_path / "a.safetensors", {"x": 1, "y": 2}).read_bytes()
    assert save(small, tmp_path / "b.safetensors", {"y": 2, "x": 1}).read_bytes() == first


def test_safetensors_without_our_record_is_read_by_its_tensors(small, tmp_path):
    save_file(small.state_dict(), tmp_path / "converted.safetensors")
    assert_same(small, load(tmp_path / "converted.safetensors"))


def test_loading_leaves_the_random_numbers_alone(small, tmp_path):
    path = save(small, tmp_path / "model.safetensors")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(path)
    assert torch.equal(torch.rand(3), expected)


def test_failed_write_keeps_the_old_file(small, tmp_path, monkeypatch):
    path = save(small, tmp_path / "model.safetensors")
    before = path.read_bytes()

    def full_disk(tensors, name, metadata):
        with open(name, "wb") as file:
            file.write(b"half of i")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(small, path, {"second": True})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_missing_file_and_folder(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.pt")
    assert "cannot be read" in refusal(tmp_path)


def foreign_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def foreign_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.txt", "hello")
    return buffer.getvalue()


FOREIGN = {
    "text": b"this is not a checkpoint\n" * 20,
    "html": b"<!DOCTYPE html><html>404</html>",
    "json": b'{"params": {"a": 1}}',
    "png": foreign_png(),
    "zip": foreign_zip(),
    "one byte": b"\x80",
    "noise": bytes(range(256)) * 10,
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(kind, suffix, tmp_path):
    path = tmp_path / f"DeMoE{suffix}"
    path.write_bytes(FOREIGN[kind])
    assert "not a" in refusal(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_zero_bytes(suffix, tmp_path):
    path = tmp_path / f"DeMoE{suffix}"
    path.touch()
    assert "empty (0 bytes)" in refusal(path)


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_truncation_anywhere(small, form, tmp_path):
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "DeMoE.pt")
    if form == "safetensors":
        save(small, path)
    else:
        torch.save({"params": small.state_dict()}, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    cuts = {1, 2, 7, 8, 9, 64, len(whole) - 1, len(whole) - 30, *rng.integers(1, len(whole), 40).tolist()}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        assert "truncated" in refusal(path) or (cut < 2 and form != "safetensors"), cut


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["pickle", "zip", "legacy"])
def test_code_in_a_pickle_is_refused_and_not_run(small, form, tmp_path):
    trace, path = tmp_path / "executed", tmp_path / "DeMoE.pt"
    content = {"params": {**small.state_dict(), "ending.bias": Bomb(str(trace))}}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"params": Bomb(str(trace))}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert "nothing of it was executed" in refusal(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert trace.exists(), "the trap itself does not work"


def test_other_networks_are_named_by_their_first_unknown_tensor(small, tmp_path):
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5))
    torch.save({"params": other.state_dict()}, tmp_path / "other.pt")
    assert "another network" in refusal(tmp_path / "other.pt") and "'0.weight'" in refusal(tmp_path / "other.pt")
    state = small.state_dict()
    extra = dict(list(state.items())[:5]) | {"encoders.0.modules_list.0.conv9.weight": torch.zeros(2)} | state
    torch.save({"params": extra | {"z.weight": torch.zeros(1)}}, tmp_path / "extra.pt")
    assert "'z.weight'" in refusal(tmp_path / "extra.pt")
    torch.save({"params": extra}, tmp_path / "extra.pt")
    assert "conv9" in refusal(tmp_path / "extra.pt")
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    assert "'0.bias'" in refusal(tmp_path / "other.safetensors")  # sorted by name there


def altered(small: DeMoE, key: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = dict(small.state_dict())
    if value is None:
        del state[key]
    else:
        state[key] = value
    return state


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("intro.weight", None, "'intro.weight'"),
        ("intro.weight", torch.zeros(4), "'intro.weight'"),
        ("intro.weight", torch.zeros(0, 3, 3, 3), "'intro"),
        ("ending.bias", None, "needs 'ending.bias'"),
        ("experts.1.experts.2.conv1.weight", None, "needs 'experts.1.experts.2.conv1.weight'"),
        ("downs.0.bias", torch.zeros(9), "wrong shape for 'downs.0.bias': (9,)"),
        ("ups.1.0.weight", torch.zeros(2, 2, 1, 1), "wrong shape for 'ups.1.0.weight'"),
        ("experts.0.experts.0.beta", torch.zeros(1, 3, 1, 1), "wrong shape for 'experts.0.experts.0.beta'"),
        ("ending.bias", torch.tensor([0.0, float("nan"), 0.0]), "ending.bias holds infinite or NaN"),
        ("mlp_branch.conv_bottleneck.1.running_var", torch.full((256,), float("inf")), "running_var holds infinite"),
        ("ending.bias", torch.full((3,), 1e300, dtype=torch.float64), "ending.bias holds infinite"),
        ("ending.bias", torch.zeros(3).to_sparse(), "'ending.bias' is not a plain tensor"),
        ("ending.bias", torch.zeros(3, device="meta"), "'ending.bias' is not a plain tensor"),
    ],
)
def test_damaged_tensors(small, key, value, words, tmp_path):
    torch.save({"params": altered(small, key, value)}, tmp_path / "DeMoE.pt")
    assert words in refusal(tmp_path / "DeMoE.pt")


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {}, {"params": {}}, {"params": {"a": 1}}, {1: torch.zeros(2)}], ids=str
)
def test_pickles_of_other_things(content, tmp_path):
    torch.save(content, tmp_path / "DeMoE.pt")
    refusal(tmp_path / "DeMoE.pt")


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "[1]",
        '{"network": "UNet"}',
        '{"network": "DeMoE"}',
        '{"network": "DeMoE", "config": {"depth": 3}}',
        '{"network": "DeMoE", "config": {"width": "four"}}',
        '{"network": "NAFNet", "config": {}}',
        '{"network": "NAFNet", "config": "width"}',
        '{"network": "DeMoE", "config": {"encoder_blocks": [999999999, 1]}}',
        '{"network": "DeMoE", "config": {"fusion": "magic"}}',
        '{"network": "DeMoE", "config": {"encoder_blocks": [1]}}',
        '{"network": "DeMoE", "config": {"encoder_blocks": 3}}',
        '{"network": "DeMoE", "config": {"width": -4}}',
    ],
)
def test_unusable_record_in_safetensors(small, record, tmp_path):
    save_file(small.state_dict(), tmp_path / "model.safetensors", metadata={checkpoints.METADATA_KEY: record})
    refusal(tmp_path / "model.safetensors")


def test_save_refuses_what_load_would_refuse(tmp_path):
    network = awake(network_of(SMALL))
    network.ending.bias.data[1] = 1e6
    save(network, tmp_path / "whole.safetensors")
    with pytest.raises(CheckpointError, match=r"ending.bias holds infinite or NaN values in 16 bits"):
        save(network, tmp_path / "half.safetensors", half=True)
    network.ending.bias.data[1] = torch.nan
    with pytest.raises(CheckpointError, match=r"ending.bias"):
        save(network, tmp_path / "nan.safetensors")
    with pytest.raises(CheckpointError, match="Conv2d"):
        save(torch.nn.Conv2d(3, 3, 1), tmp_path / "conv.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["whole.safetensors"]
