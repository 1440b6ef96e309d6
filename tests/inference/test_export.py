"""Exported files compute what PyTorch computes, at sizes other than the one they were exported with."""

import pytest
import torch
from conftest import shake

from demoe.inference import export as exporting
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

TINY = {"width": 4, "encoder_blocks": (1, 0), "middle_blocks": 0, "decoder_blocks": (0, 1)}  # quick to trace
SIZES = [(37, 51), (64, 16), (5, 130), (6, 5)]
WISHES = [{}, {"k": 2}, {"k": None}, {"expert": "global_motion"}]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(DeMoE(DeMoEConfig(**TINY, num_experts=3)))  # all of them are traced


def picture(*size):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))


def close(found, expected, wish):
    image, weights = found if "expert" not in wish else (found, None)
    assert (image - expected.image).abs().max() < 1e-4
    if weights is not None:
        torch.testing.assert_close(weights, expected.weights, rtol=1e-4, atol=1e-5)


@pytest.fixture
def traced_once(monkeypatch):
    """PyTorch traces the network of a wish, most of the time of an export, only for the first of its two formats."""
    trace, programs = torch.export.export, []

    def traced(*arguments, **options):
        if not programs:
            programs.append(trace(*arguments, **options))
        return programs[0]

    monkeypatch.setattr(torch.export, "export", traced)
    return programs


@pytest.mark.parametrize("wish", WISHES)
@torch.no_grad()
def test_both_formats(model, wish, tmp_path, traced_once):
    file = exporting.export(model, tmp_path / "net.pt2", **wish)
    program = torch.export.load(file).module()
    for size in SIZES:
        close(program(picture(*size)), model(picture(*size), **wish), wish)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.pt2"] and len(traced_once) == 1
    if wish == {"k": 2}:  # as ONNX, it has nothing that k = 1 and all experts lack
        return
    pytest.importorskip("onnxscript", reason="pip install demoe[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="pip install demoe[onnx]")
    file = exporting.export(model, tmp_path / "net.onnx", **wish)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for size in SIZES:
        found = [torch.from_numpy(part) for part in session.run(None, {"image": picture(*size).numpy()})]
        close(found[0] if "expert" in wish else found, model(picture(*size), **wish), wish)


@torch.no_grad()
def test_each_expert_can_be_gathered():
    model = shake(DeMoE(DeMoEConfig(**TINY)))
    network = exporting.Exportable(model)
    last = network.net.mlp_branch.classifier[-1]
    for i in range(5):
        last.bias.zero_()[i] = 100
        image, weights = network(picture(20, 30))
        assert weights.argmax().item() == i
        expected = model(picture(20, 30), expert=exporting_name(i)).image
        assert (image - expected).abs().max() < 1e-5


def exporting_name(i):
    from demoe.core.tasks import EXPERTS

    return EXPERTS[i]


@pytest.mark.parametrize("fusion", ["residual", "attention"])
@torch.no_grad()
def test_fusions_and_a_network_without_experts(fusion):
    torch.manual_seed(0)
    other = shake(DeMoE(DeMoEConfig(**TINY, fusion=fusion)))
    close(exporting.Exportable(other)(picture(21, 30)), other(picture(21, 30)), {})
    net = shake(NAFNet(NAFNetConfig(**TINY)))
    assert (exporting.Exportable(net)(picture(21, 30)) - net(picture(21, 30)).image).abs().max() < 1e-5


def test_errors(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="ends in"):
        exporting.export(model, tmp_path / "net.bin")
    with pytest.raises(ValueError, match="Identity"):
        exporting.export(torch.nn.Identity(), tmp_path / "net.pt2")
    with pytest.raises(ValueError, match="unknown expert"):
        exporting.export(model, tmp_path / "net.pt2", expert="sharpen")
    with pytest.raises(ValueError, match="k must"):
        exporting.export(model, tmp_path / "net.pt2", k=6)
    with pytest.raises(ValueError, match="no experts"):
        exporting.export(NAFNet(NAFNetConfig(**TINY)), tmp_path / "net.pt2", expert="defocus")
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install"):
        exporting.export(model, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
