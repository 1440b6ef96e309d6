"""Teachers of the semantic prior: frozen networks of other tasks, their maps of a sharp picture at strides 4, 8, 16.

Each is a ``FrozenCNN``, as ``features.offline_cnn`` is: (B, 3, H, W) in [0, 1] -> (B, C, h, w) a level, fine to coarse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from demoe.blur.sources import photographs
from demoe.core.files import first_line

from .features import HALF, IMAGENET, FrozenCNN, lite0, offline_cnn
from .weight_files import Weights, WeightsMissing, fill, label_of, tensors

NONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # a mean and a deviation that change nothing


class _Maps(nn.Module):
    """A network and how maps are read off it, as one."""

    def __init__(self, network: nn.Module, read: Callable[[nn.Module, Tensor], list[Tensor]]):
        super().__init__()
        self.network, self.read = network, read

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.read(self.network, x)


def random_cnn(taps: Sequence[int] = (4, 8, 16), seed: int = 0) -> FrozenCNN:
    """EfficientNet-Lite0 with random weights, label "random": the control of what ``features.offline_cnn`` teaches."""
    return FrozenCNN(lite0(taps, seed), "random", HALF)


def segments(classes: int = 8) -> FrozenCNN:
    """Probabilities of segments, found without a segmentation network: its stand-in at image level, label "segments".

    The vectors of EfficientNet-Lite0's map at stride 8, standardised, fall into ``classes`` by k-means over bundled
    photographs; probabilities are those of a mixture of Gaussians of deviation 1 about the centres. Our choice.
    Raises ``WeightsMissing``, which says what to install.
    """
    network = offline_cnn((8,))
    seen = [network(picture[None, :, :256, :256])[0].flatten(2)[0].T for picture in photographs("train").values()]
    vectors = torch.cat(seen)  # (N, C)
    std, mean = torch.std_mean(vectors, 0)
    centres = torch.from_numpy(kmeans2(((vectors - mean) / std).double().numpy(), classes, minit="++", seed=0)[0])

    def read(body: nn.Module, x: Tensor) -> list[Tensor]:
        vectors = (body(x)[0].movedim(1, -1) - mean.to(x)) / std.to(x)  # (B, h, w, C)
        distance = (vectors[..., None, :] - centres.to(x)).square().sum(-1)  # (B, h, w, classes)
        found = (-distance / 2).softmax(-1).movedim(-1, 1)
        finer = F.interpolate(found, [-(-side // 4) for side in x.shape[-2:]], mode="bilinear")
        return [finer, found, F.avg_pool2d(found, 2, ceil_mode=True)]

    return FrozenCNN(_Maps(network.network, read), "segments", HALF)


def load_tresnet(weights: Weights, taps: Sequence[int] = (4, 8, 16)) -> FrozenCNN:
    """The paper's teacher: TResNet-L, a multi-label classifier (ASL's ``Open_ImagesV6_TRresNet_L_448.pth``).

    Strides 4, 8, 16, 32 give 76, 152, 1216, 2432 channels; the sides of pictures are multiples of 4. Which layers the
    paper takes is not stated; 4, 8 and 16 are our choice. The classifier is left out. Raises ``CheckpointError`` for
    weights of another network, and ``ValueError`` for other strides.
    """
    strides = (4, 8, 16, 32)
    if not taps or not set(taps) <= set(strides):
        raise ValueError(f"taps {tuple(taps)} are not among the strides {strides} of TResNet-L")
    import timm
    from timm.models.tresnet import checkpoint_filter_fn

    wanted = [strides.index(tap) + 1 for tap in sorted(taps)]
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model("tresnet_l", num_classes=0)
    state = checkpoint_filter_fn(tensors(weights), network)
    fill(network, {key: value for key, value in state.items() if not key.startswith("head.")}, weights)
    network.prune_intermediate_layers(wanted)

    def read(body: nn.Module, x: Tensor) -> list[Tensor]:
        return body.forward_intermediates(x, indices=wanted, intermediates_only=True)

    return FrozenCNN(_Maps(network, read), label_of(weights), NONE)


def load_segmentation(weights: Weights, classes: int = 21, image_level: bool = False) -> FrozenCNN:
    """A segmentation network for the comparison of Figure 7: torchvision's DeepLabV3 on a ResNet-50, from a file.

    Its features: 256, 512 and 1024 channels of the first three layers, the third of which, dilated, has means of 2x2
    taken to have stride 16. ``image_level``: instead the probabilities of ``classes`` classes, averaged to the three
    strides, which with a student of as many channels a level, without CLC and MLA, make the image-level prior.
    The paper's own teacher (Zhu et al., on Cityscapes) is another. Raises ``CheckpointError`` for other weights.
    """
    from torchvision.models.segmentation import deeplabv3_resnet50

    with torch.random.fork_rng(devices=[]):
        network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=classes)
    state = {key: value for key, value in tensors(weights).items() if not key.startswith("aux_classifier.")}
    fill(network, state, weights)
    return FrozenCNN(_Maps(network, _probabilities if image_level else _layers), label_of(weights), IMAGENET)


def _probabilities(network: nn.Module, x: Tensor) -> list[Tensor]:
    maps = network(x)["out"].softmax(1)  # (B, classes, H, W)
    return [F.avg_pool2d(maps, stride, ceil_mode=True) for stride in (4, 8, 16)]


def _layers(network: nn.Module, x: Tensor) -> list[Tensor]:
    found = []
    for name, layer in network.backbone.items():
        if name == "layer4":
            break
        x = layer(x)
        found += [x] if name in ("layer1", "layer2") else []
    return [*found, F.avg_pool2d(x, 2, ceil_mode=True)]


def load_segformer(folder: str | Path) -> FrozenCNN:
    """SegFormer of the package transformers, from a folder as that saves it: its first three stages.

    (B0: 32, 64, 160 channels.) Raises ``WeightsMissing`` where the package or the network is not here.
    """
    try:
        from transformers import SegformerForSemanticSegmentation as Segformer

        network = Segformer.from_pretrained(folder, local_files_only=True)
    except (ModuleNotFoundError, OSError) as error:
        problem = first_line(error)
        raise WeightsMissing(f"{folder} is a network that the package transformers saved: {problem}") from None

    def read(model: nn.Module, x: Tensor) -> list[Tensor]:
        return list(model(x, output_hidden_states=True).hidden_states[:3])

    return FrozenCNN(_Maps(network, read), Path(folder).name, IMAGENET)
