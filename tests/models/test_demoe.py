import pytest
import torch
import torch.nn.functional as F
from conftest import shake

from demoe.core.tasks import DATASETS, EXPERTS
from demoe.models.demoe import DeMoE, DeMoEConfig
from demoe.models.moe import MoEBlock, top_k_weights
from demoe.models.nafnet import NAFNet, NAFNetConfig

TINY = DeMoEConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(DeMoE(TINY))


def slow_moe(block: MoEBlock, x, weights):
    """Equation 2 written out, image by image and expert by expert."""
    images = []
    for image, row in zip(x, weights, strict=True):
        outputs = [w * expert(image.unsqueeze(0)) for w, expert in zip(row, block.experts, strict=True) if w > 0]
        images.append(sum(outputs))
    return torch.cat(images)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_weights_sum_to_one_and_keep_the_largest(k):
    weights = F.softmax(torch.randn(7, 5), 1)
    kept = top_k_weights(weights, k)
    torch.testing.assert_close(kept.sum(1), torch.ones(7))
    assert (kept > 0).sum(1).tolist() == [k] * 7
    for row, original in zip(kept, weights, strict=True):
        chosen = original.argsort(descending=True)[:k]
        torch.testing.assert_close(row[chosen], original[chosen] / original[chosen].sum())


def test_all_five_experts_is_the_soft_mixture():
    weights = F.softmax(torch.randn(3, 5), 1)
    torch.testing.assert_close(top_k_weights(weights, 5), weights)
    assert top_k_weights(weights, None) is weights


@pytest.mark.parametrize("k", [0, 6, -1])
def test_impossible_k_is_refused(k):
    with pytest.raises(ValueError, match="between 1 and 5"):
        top_k_weights(torch.full((1, 5), 0.2), k)


@pytest.mark.parametrize("fusion", ["sum", "residual", "attention"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", ["soft", "same expert", "mixed experts", "top 2"])
def test_moe_block_equals_the_equation(fusion, training, case):
    torch.manual_seed(1)
    block = shake(MoEBlock(4, fusion=fusion)).train(training)
    x = torch.randn(4, 4, 5, 7)
    soft = F.softmax(torch.randn(4, 5), 1)
    weights = {
        "soft": soft,
        "same expert": F.one_hot(torch.tensor([2, 2, 2, 2]), 5).float(),
        "mixed experts": F.one_hot(torch.tensor([0, 4, 1, 4]), 5).float(),
        "top 2": top_k_weights(soft, 2),
    }[case]
    expected = slow_moe(block, x, weights)
    if fusion == "residual":
        expected = x + expected  # Equation 7
    elif fusion == "attention":
        expected = x * expected  # Equation 8
    torch.testing.assert_close(block(x, weights), expected, rtol=1e-5, atol=1e-6)


def test_unknown_fusion_is_refused():
    with pytest.raises(ValueError, match="fusion"):
        MoEBlock(4, fusion="product")


def test_only_the_chosen_expert_runs(model):
    calls = []
    handles = [
        expert.register_forward_hook(lambda *_, i=i: calls.append(i))
        for block in model.experts
        for i, expert in enumerate(block.experts)
    ]
    with torch.no_grad():
        model(torch.rand(2, 3, 16, 16), expert="local_motion")
    for handle in handles:
        handle.remove()
    assert calls == [2] * len(model.experts)


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (16, 16), (31, 20)])
def test_any_size_goes_in_and_comes_out(model, size):
    with torch.no_grad():
        out = model(torch.rand(2, 3, *size))
    assert out.image.shape == (2, 3, *size)
    assert out.logits.shape == out.weights.shape == (2, 5)
    torch.testing.assert_close(out.weights.sum(1), torch.ones(2))


def test_names_of_experts_and_datasets_mean_the_same(model):
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        for i, (expert, dataset) in enumerate(zip(EXPERTS, DATASETS, strict=True)):
            by_expert, by_dataset = model(x, expert=expert), model(x, expert=dataset)
            assert by_expert.weights.argmax().item() == i and by_expert.weights.max() == 1
            torch.testing.assert_close(by_expert.image, by_dataset.image)
        images = torch.cat([model(x, expert=expert).image for expert in EXPERTS])
    assert (images - images[:1]).abs().flatten(1).amax(1)[1:].min() > 1e-4  # five different experts


def test_one_expert_an_image_equals_image_by_image(model):
    x = torch.rand(4, 3, 18, 23)
    names = ["GoPro", None, "low_light", "defocus"]
    with torch.no_grad():
        together = model(x, expert=names)
        alone = [model(image.unsqueeze(0), expert=name) for image, name in zip(x, names, strict=True)]
    torch.testing.assert_close(together.image, torch.cat([one.image for one in alone]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.weights, torch.cat([one.weights for one in alone]))


def test_wrong_wishes_are_refused(model):
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        with pytest.raises(ValueError, match=r"unknown expert 'fog'.*defocus"):
            model(x, expert="fog")
        with pytest.raises(ValueError, match="1 experts named for 2 images"):
            model(x, expert=["defocus"])
        with pytest.raises(ValueError, match="between 1 and 5"):
            model(x, k=9)


def test_training_is_soft_and_reaches_every_expert():
    model = shake(DeMoE(TINY)).train()
    out = model(torch.rand(2, 3, 16, 16), k=1)
    torch.testing.assert_close(out.weights, F.softmax(out.logits, 1))
    out.image.sum().backward()
    for block in model.experts:
        for expert in block.experts:
            assert expert.beta.grad is not None and expert.beta.grad.abs().sum() > 0


def test_one_expert_is_a_nafnet():
    """Section 3.3: with k = 1 DeMoE is the baseline, the expert being its third block."""
    torch.manual_seed(2)
    config = NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=2, decoder_blocks=(2, 2), router=True)
    baseline = shake(NAFNet(config))
    from demoe.training.stages import demoe_from_baseline

    model = demoe_from_baseline(baseline, TINY, "pretrained").eval()
    x = torch.rand(2, 3, 21, 30)
    with torch.no_grad():
        torch.testing.assert_close(model(x).image, baseline(x).image, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(x).logits, baseline(x).logits)


@pytest.mark.parametrize("size", [(1, 1), (17, 33)])
def test_nafnet_takes_any_size(size):
    model = shake(NAFNet(NAFNetConfig(width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1))))
    with torch.no_grad():
        out = model(torch.rand(1, 3, *size))
    assert out.image.shape == (1, 3, *size) and out.logits is None and out.weights is None
    with pytest.raises(ValueError, match="no experts"):
        model(torch.rand(1, 3, *size), expert="defocus")


def test_levels_must_match():
    with pytest.raises(ValueError, match="same number of levels"):
        DeMoE(DeMoEConfig(encoder_blocks=(1, 1), decoder_blocks=(1,)))
    with pytest.raises(ValueError, match="same number of levels"):
        NAFNet(NAFNetConfig(encoder_blocks=(1, 1), decoder_blocks=(1,)))


@pytest.mark.parametrize("build", [lambda: DeMoE(TINY).eval(), lambda: NAFNet(NAFNetConfig(width=8)).eval()])
def test_a_new_network_is_the_identity(build):
    x = torch.rand(1, 3, 19, 34)
    with torch.no_grad():
        torch.testing.assert_close(build()(x).image, x)


def test_most_filters_start_blind_to_brightness():
    intro = DeMoE(DeMoEConfig(width=8, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))).intro
    flat = torch.full((1, 3, 9, 9), 0.7)
    response = (intro(flat) - intro.bias.view(1, -1, 1, 1))[0, :, 4, 4].abs()
    assert (response[2:] < 1e-5).all() and (response[:2] > 1e-4).all()
