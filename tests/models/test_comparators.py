import sys

import pytest
import torch
import torch.nn.functional as F

from demoe.models.comparators import (
    FFTFormer,
    FFTFormerConfig,
    PromptBlock,
    PromptIR,
    PromptIRConfig,
    Restormer,
    RestormerConfig,
)
from demoe.models.sfhformer import SFHBlock, SFHFormer, SFHFormerConfig, SpectralMixer

SLIM_PROMPTIR = PromptIRConfig(
    width=8,
    blocks=(1, 1, 1, 1),
    refinement_blocks=1,
    heads=(1, 2, 4, 4),
    prompt_channels=(8, 12, 16),
    prompt_sizes=(8, 4, 2),
    prompt_heads=4,
)
SLIM_SFH = SFHFormerConfig(width=4, blocks=(1, 1, 2, 1, 1))
SLIM = {"promptir": lambda: PromptIR(SLIM_PROMPTIR), "sfhformer": lambda: SFHFormer(SLIM_SFH)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", SLIM)
@pytest.mark.parametrize("size", [(1, 1), (3, 17), (24, 16), (31, 37)])
def test_any_size(name, size):
    x = torch.rand(2, 3, *size)
    y = SLIM[name]().eval()(x).image
    assert y.shape == x.shape
    assert y.isfinite().all()


@pytest.mark.parametrize("name", SLIM)
def test_residual(name):
    model = SLIM[name]()
    for parameter in model.ending.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 3, 13, 18)
    torch.testing.assert_close(model(x).image, x, rtol=0, atol=0)


@pytest.mark.parametrize("name", SLIM)
def test_gradients_reach_everything_used(name):
    model = SLIM[name]()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("beta", "gamma")):
                parameter.uniform_(0.5, 1.5)
    model(torch.rand(2, 3, 16, 24)).image.square().sum().backward()
    silent = {key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert {key.split(".")[0] for key in silent} <= {"unused"}


@pytest.mark.parametrize("name", SLIM)
def test_gradients_in_mixed_precision_are_finite(name):
    """In bfloat16 PyTorch 2.15's gradient of a dilated depth-wise convolution on a CPU is read beyond its arrays."""
    network = SLIM[name]().train().to(memory_format=torch.channels_last)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            network(torch.rand(5, 3, 32, 32)).image.float().square().mean().backward()
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_unused_layers_of_promptir():
    x = torch.rand(1, 3, 16, 16)
    full = PromptIR(SLIM_PROMPTIR)
    bare = PromptIR(PromptIRConfig(**{**SLIM_PROMPTIR.__dict__, "unused_layers": False}))
    extra = set(full.state_dict()) - set(bare.state_dict())
    assert len(extra) == 6
    bare.load_state_dict({key: value for key, value in full.state_dict().items() if key not in extra})
    torch.testing.assert_close(full(x).image, bare(x).image)


def test_prompt_by_hand():
    block = PromptBlock(channels=6, prompt_channels=4, size=3, length=2)
    x = torch.randn(2, 6, 5, 7)
    for image in range(2):
        share = torch.softmax(block.mix(x[image].mean(dim=(1, 2))), dim=0)
        prompt = share[0] * block.components[0] + share[1] * block.components[1]  # (4, 3, 3)
        expected = block.conv(F.interpolate(prompt[None], (5, 7), mode="bilinear"))[0]
        torch.testing.assert_close(block(x)[image], expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_spectral_mixer_by_hand(size):
    """Each frequency on its own: candidate convolutions mixed by that frequency's weights."""
    mixer = SpectralMixer(channels=2, groups=2).eval()
    with torch.no_grad():
        mixer.position.weight.zero_()  # the one part that looks at neighbouring frequencies
        mixer.position.bias.zero_()
    x = torch.randn(1, 2, *size)
    spectrum = torch.fft.rfft2(x, norm="ortho")[0]
    changed = torch.empty_like(spectrum)
    matrix, bias = mixer.candidates.weight[:, :, 0, 0], mixer.candidates.bias
    for i in range(spectrum.shape[1]):
        for j in range(spectrum.shape[2]):
            z = spectrum[:, i, j]
            v = torch.stack([z[0].real, z[0].imag, z[1].real, z[1].imag]) / (1 + mixer.norm.eps) ** 0.5
            share = torch.softmax(mixer.choice[0].weight[:, :, 0, 0] @ v + mixer.choice[0].bias, dim=0)
            candidates = [matrix[4 * g : 4 * g + 4] @ v[2 * g : 2 * g + 2] + bias[4 * g : 4 * g + 4] for g in range(2)]
            mixed = F.gelu(share[0] * candidates[0] + share[1] * candidates[1])
            changed[:, i, j] = torch.complex(mixed[::2], mixed[1::2])
    expected = torch.fft.irfft2(changed[None], s=size, norm="ortho")
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)


def test_sfh_block_starts_as_the_identity():
    x = torch.randn(2, 8, 6, 7)
    torch.testing.assert_close(SFHBlock(8, groups=4)(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "config"),
    [(Restormer, RestormerConfig()), (FFTFormer, FFTFormerConfig())],
    ids=["Restormer", "FFTFormer"],
)
def test_missing_package(monkeypatch, network, config):
    monkeypatch.setitem(sys.modules, network.module, None)  # what import sees where it is not installed
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[comparators\]'"):
        network(config)
