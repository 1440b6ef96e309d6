"""What an expert can be made of: the NAFBlock of DeMoE and the four blocks of Table 7 (supplement).

The paper names the blocks but gives no sizes. Those below are the ones with which the whole network (five experts in
each of five MoEBlocks) has the published parameters and MACs; ``tests/models/test_complexity.py`` holds them to it.

Every block maps (B, C, H, W) to the same shape, for any H, W >= 1, and is residual. Blocks with learnt scales
(NAFBlock, wavelet, DarkIR) start as the identity; Restormer's and PLK's have none and start as their papers' do.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import LayerNorm2d, NAFBlock, SimpleGate


class ChannelAttention(nn.Module):
    """Restormer's multi-head attention between channels, so that its cost is linear in H x W (their Section 3.1)."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.depthwise(self.qkv(x))  # (B, 3C, H, W)
        heads = qkv.reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = heads.unbind(1)  # 3 x (B, heads, C/heads, HW)
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        scores = (query @ key.transpose(-2, -1)) * self.temperature  # (B, heads, C/heads, C/heads)
        mixed = scores.softmax(dim=-1) @ value  # (B, heads, C/heads, HW)
        return self.project(mixed.reshape(batch, channels, height, width))


class GatedFeedForward(nn.Module):
    """Restormer's feed-forward: two depth-wise paths, one gating the other through a GELU (their Section 3.2)."""

    def __init__(self, channels: int, factor: float):
        super().__init__()
        hidden = int(channels * factor)
        self.expand = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, content = self.depthwise(self.expand(x)).chunk(2, dim=1)  # 2 x (B, hidden, H, W)
        return self.project(F.gelu(gate) * content)  # (B, C, H, W)


class RestormerBlock(nn.Module):
    """Channel attention and gated feed-forward, each after a layer norm and residual (Zamir et al., 2022).

    No convolution has a bias. ``heads`` is not stated in the paper and hardly costs anything (one parameter a head):
    our choice is 32 channels a head where they divide evenly, else one head. PromptIR passes its own.
    """

    def __init__(self, channels: int, heads: int | None = None, factor: float = 2.66):
        super().__init__()
        if heads is None:
            heads = channels // 32 if channels % 32 == 0 else 1
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.norm1 = LayerNorm2d(channels, eps=1e-5)
        self.attention = ChannelAttention(channels, heads)
        self.norm2 = LayerNorm2d(channels, eps=1e-5)
        self.feed_forward = GatedFeedForward(channels, factor)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


FEW = 32  # channels up to which a large kernel's gradients by Fourier transforms were measured to take less time


class PLKBlock(nn.Module):
    """Convolutional channel mixer, a large kernel on some channels, attention for each element (Lee et al., 2024).

    The mixer is the doubled one, 3x3-GELU-3x3 with twice the channels between; the 17x17 kernel sees the first quarter
    of the channels only. No norm and no scale: the weights start small instead (standard deviation 0.02).
    """

    def __init__(self, channels: int, kernel: int = 17):
        super().__init__()
        self.mixer = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.GELU(), nn.Conv2d(2 * channels, channels, 3, padding=1)
        )
        self.part = max(1, channels // 4)
        self.large = nn.Conv2d(self.part, self.part, kernel, padding=kernel // 2)
        self.attention = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.Sigmoid())
        self.refine = nn.Conv2d(channels, channels, 1)
        for conv in (self.mixer[2], self.large, self.attention[0], self.refine):
            nn.init.trunc_normal_(conv.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mixer(x)  # (B, C, H, W)
        far, near = y[:, : self.part], y[:, self.part :]  # (B, C/4, H, W), (B, 3C/4, H, W)
        y = torch.cat((self._large(far), near), dim=1)  # (B, C, H, W)
        return x + self.refine(y * self.attention(y))

    def _large(self, x: Tensor) -> Tensor:
        learning = torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()
        if learning and x.device.type == "cpu" and self.part <= FEW:
            return _LargeKernel.apply(x, self.large.weight, self.large.bias)
        return self.large(x)


class _LargeKernel(torch.autograd.Function):
    """A convolution that keeps the size, whose gradients are computed with Fourier transforms.

    On a CPU the usual backward takes many times as long: of 17x17 kernels on few channels, in
    channels-last memory, oneDNN 3 computes the weight's gradient by plain loops (PyTorch 2.15; ``findings/``).
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors  # (B, I, H, W), (O, I, K, K)
        side = weight.shape[-1]
        half, (height, width) = side // 2, x.shape[-2:]
        size = (height + side - 1, width + side - 1)  # room for both, so that nothing wraps around
        wide = torch.promote_types(x.dtype, torch.float32)  # half precision has no such transform
        spectra = [torch.fft.rfft2(one.to(wide).contiguous(), s=size) for one in (grad, weight, x)]
        grads, weights, inputs = spectra  # each (., ., H + K - 1, (W + K) / 2) complex
        to_x = torch.fft.irfft2(torch.einsum("bohw,oihw->bihw", grads, weights), s=size)
        to_weight = torch.fft.irfft2(torch.einsum("bohw,bihw->oihw", grads.conj(), inputs), s=size)
        to_weight = to_weight.roll((half, half), (-2, -1))[..., :side, :side]  # shifts of -K/2 .. K/2, in that order
        return to_x[..., half : half + height, half : half + width], to_weight, grad.sum((0, 2, 3))


class HaarTransform(nn.Module):
    """One level of a separable wavelet transform whose four two-tap filters are learnt, and its inverse.

    At the start they are Haar's, so that ``synthesis(analysis(x))`` is x.
    """

    def __init__(self):
        super().__init__()
        tap = math.sqrt(0.5)
        self.analysis_low = nn.Parameter(torch.tensor((tap, tap)))
        self.analysis_high = nn.Parameter(torch.tensor((tap, -tap)))
        self.synthesis_low = nn.Parameter(torch.tensor((tap, tap)))
        self.synthesis_high = nn.Parameter(torch.tensor((tap, -tap)))

    def analysis(self, x: Tensor) -> Tensor:
        """(B, C, H, W), H and W even -> (B, 4C, H/2, W/2): all channels' LL, then LH, HL, HH."""
        batch, channels, height, width = x.shape
        bank = self._bank(self.analysis_low, self.analysis_high).repeat(channels, 1, 1, 1)  # (4C, 1, 2, 2)
        y = F.conv2d(x, bank.to(x.dtype), stride=2, groups=channels)  # (B, 4C, H/2, W/2), bands of a channel together
        y = y.view(batch, channels, 4, height // 2, width // 2).transpose(1, 2)  # (B, 4, C, H/2, W/2)
        return y.reshape(batch, 4 * channels, height // 2, width // 2)

    def synthesis(self, bands: Tensor) -> Tensor:
        """(B, 4C, H/2, W/2) in the order of ``analysis`` -> (B, C, H, W)."""
        batch, channels, height, width = bands.shape
        channels //= 4
        bank = self._bank(self.synthesis_low, self.synthesis_high).repeat(channels, 1, 1, 1)  # (4C, 1, 2, 2)
        y = bands.view(batch, 4, channels, height, width).transpose(1, 2)  # (B, C, 4, H/2, W/2)
        y = y.reshape(batch, 4 * channels, height, width)
        return F.conv_transpose2d(y, bank.to(y.dtype), stride=2, groups=channels)  # (B, C, H, W)

    @staticmethod
    def _bank(low: Tensor, high: Tensor) -> Tensor:
        pairs = ((low, low), (high, low), (low, high), (high, high))
        return torch.stack([torch.outer(rows, columns) for rows, columns in pairs]).unsqueeze(1)  # (4, 1, 2, 2)


class WaveletBlock(nn.Module):
    """A NAFBlock whose depth-wise convolution works on learnt wavelet bands (Gao et al., 2024, their LWN).

    On the 4C bands: 1x1 to 6C, 7x7 depth-wise, GELU, 1x1 back. Then, as in the NAFBlock, channel attention, 1x1, and a
    gated feed-forward. Odd sizes are padded by repeating the last row or column and cropped after the transform.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = LayerNorm2d(channels)
        self.wavelet = HaarTransform()
        self.bands = nn.Sequential(
            nn.Conv2d(4 * channels, 6 * channels, 1),
            nn.Conv2d(6 * channels, 6 * channels, 7, padding=3, groups=6 * channels),
            nn.GELU(),
            nn.Conv2d(6 * channels, 4 * channels, 1),
        )
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = LayerNorm2d(channels)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.sg = SimpleGate()
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        y = F.pad(self.norm1(x), (0, width % 2, 0, height % 2), mode="replicate")  # (B, C, H', W'), both even
        y = self.bands(self.wavelet.analysis(y))  # (B, 4C, H'/2, W'/2)
        y = self.wavelet.synthesis(y)[..., :height, :width]  # (B, C, H, W)
        y = self.conv3(y * self.sca(y))
        x = x + y * self.beta
        y = self.conv4(self.norm2(x))  # (B, 2C, H, W)
        return x + self.conv5(self.sg(y)) * self.gamma


class SpectralFeedForward(nn.Module):
    """A pixel-wise network on the magnitude of the Fourier spectrum; the phase passes unchanged (DarkIR)."""

    def __init__(self, channels: int):
        super().__init__()
        self.magnitude = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.LeakyReLU(0.1), nn.Conv2d(2 * channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x.float())  # (B, C, H, W/2 + 1) complex; half precision has no such transform
        magnitude = self.magnitude(spectrum.abs()).float()
        changed = torch.polar(magnitude, spectrum.angle())
        return torch.fft.irfft2(changed, s=x.shape[-2:]).to(x.dtype)  # (B, C, H, W)


class DarkIRBlock(nn.Module):
    """The encoder block of DarkIR (Feijoo et al., 2025): a gated depth-wise branch, then a spectral feed-forward.

    The spectral output multiplies the features, as in the authors' code. Without the extra depth-wise convolution and
    the adapter of their full model the published 21.90 M parameters come out; the published 11.05 G MACs do not
    (10.74 G): that number equals the NAFBlock's and is not reproduced.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = LayerNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.sg = SimpleGate()
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = LayerNorm2d(channels)
        self.spectral = SpectralFeedForward(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.sg(self.conv2(self.conv1(self.norm1(x))))  # (B, C, H, W)
        y = self.conv3(y * self.sca(y))
        x = x + y * self.beta
        return x + x * self.spectral(self.norm2(x)) * self.gamma


EXPERT_BLOCKS: dict[str, type[nn.Module]] = {
    "naf": NAFBlock,
    "restormer": RestormerBlock,
    "plk": PLKBlock,
    "wavelet": WaveletBlock,
    "darkir": DarkIRBlock,
}


def expert_block(kind: str, channels: int) -> nn.Module:
    """A new expert of the given kind for ``channels`` channels. Raises ``ValueError`` for an unknown kind."""
    if kind not in EXPERT_BLOCKS:
        raise ValueError(f"unknown expert block {kind!r}: choose one of {', '.join(EXPERT_BLOCKS)}")
    return EXPERT_BLOCKS[kind](channels)
