"""Exported files compute what PyTorch computes, at sizes other than the one they were exported with."""

import json

import pytest
import torch
from conftest import shake

from demoe.core import __version__
from demoe.core.tasks import EXPERTS
from demoe.inference import export as exporting
from demoe.models import tlc
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.nafnet import NAFNet, NAFNetConfig

TINY = {"width": 4, "encoder_blocks": (), "middle_blocks": 0, "decoder_blocks": ()}  # one mixture: quick to trace
SIZES = [(1, 37, 51), (3, 64, 16), (2, 5, 130), (1, 6, 5)]  # of batches
ORIGIN = {"commit": "abcd1234", "seed": 3}
WISHES = [{}, {"k": 2}, {"expert": "global_motion"}]  # all experts, k None, are a sum as two are


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(DeMoE(DeMoEConfig(**TINY, num_experts=3)))  # all of them are traced


def picture(*size):
    """A batch (B, H, W) of pictures, or one (H, W)."""
    batch, *sides = size if len(size) == 3 else (1, *size)
    return torch.rand(batch, 3, *sides, generator=torch.Generator().manual_seed(1))


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
    about = exporting.description(model, wish.get("expert"), wish.get("k", 1), ORIGIN)
    file, extra = exporting.export(model, tmp_path / "net.pt2", **wish, origin=ORIGIN), {"demoe.json": ""}
    program = torch.export.load(file, extra_files=extra).module()
    assert json.loads(extra["demoe.json"]) == json.loads(json.dumps(about))
    assert about["experts"] == ["expert_0", "expert_1", "expert_2"]
    for size in SIZES:
        close(program(picture(*size)), model(picture(*size), **wish), wish)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.pt2"] and len(traced_once) == 1
    if wish == {"k": 2}:  # as ONNX, it has nothing that k = 1 lacks
        return
    pytest.importorskip("onnxscript", reason="pip install 'demoe[export]'")
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'demoe[export]'")
    file = exporting.export(model, tmp_path / "net.onnx", **wish, origin=ORIGIN)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [each.shape for each in session.get_inputs()] == [["batch", 3, "height", "width"]]
    outputs = [["batch", 3, "height", "width"], ["batch", 3]]
    assert [each.shape for each in session.get_outputs()] == outputs[: 1 if "expert" in wish else 2]
    said = session.get_modelmeta()
    assert said.producer_name == "demoe" and json.loads(said.custom_metadata_map["provenance"]) == ORIGIN
    assert said.custom_metadata_map["network"] == "DeMoE" and said.custom_metadata_map.keys() == about.keys()
    vino = pytest.importorskip("openvino", reason="pip install openvino")
    compiled = vino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for size in SIZES:
        expected = model(picture(*size), **wish)
        feed = {"image": picture(*size).numpy()}
        for found in (session.run(None, feed), list(compiled(feed).values())):
            found = [torch.from_numpy(part) for part in found]
            close(found[0] if "expert" in wish else found, expected, wish)


def test_what_a_file_says():
    said = exporting.description(DeMoE(DeMoEConfig(**TINY)), "low_light", 1, ORIGIN)
    assert said["network"] == "DeMoE" and said["experts"] == list(EXPERTS) and said["k"] is None
    assert said["config"]["width"] == 4 and said["provenance"] == ORIGIN and said["demoe_version"] == __version__
    assert "RGB in [0, 1]; height and width above 1" in said["input"] and "weights" not in said["output"]
    said = exporting.description(NAFNet(NAFNetConfig(**TINY)), None, 1)
    assert said["experts"] == [] and said["expert"] is None and said["provenance"] == {}


@torch.no_grad()
def test_each_expert_can_be_gathered():
    model = shake(DeMoE(DeMoEConfig(**TINY)))
    network = exporting.Exportable(model)
    last = network.net.mlp_branch.classifier[-1]
    for i in range(5):
        last.bias.zero_()[i] = 100
        image, weights = network(picture(20, 30))
        assert weights.argmax().item() == i
        expected = model(picture(20, 30), expert=EXPERTS[i]).image
        assert (image - expected).abs().max() < 1e-5


@torch.no_grad()
def test_pictures_of_a_batch_have_an_expert_each():
    model = shake(DeMoE(DeMoEConfig(**TINY)))
    model.mlp_branch.classifier[-1].weight.mul_(100)
    x = picture(5, 20, 30) * torch.linspace(0, 1, 5).view(-1, 1, 1, 1)
    model.mlp_branch.classifier[-1].bias.sub_(model(x).logits.mean(0))  # so that no expert is always the best
    image, weights = exporting.Exportable(model)(x)
    assert len(set(weights.argmax(1).tolist())) > 1  # the router is of several minds
    assert (image - model(x).image).abs().max() < 1e-5


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
    with pytest.raises(ValueError, match="a network with TLC cannot be exported"):
        exporting.export(tlc.local(model, 32), tmp_path / "net.pt2")
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install"):
        exporting.export(model, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
