"""The UNet of the semantic prior's ablations: the deblurring branch of the depth guided model (Li et al., TIP 2020).

Its authors have published no code for this branch that is known here. Widths and numbers of blocks are a reading of the
paper at second hand; what it leaves open (kernels of 3 where the size halves, of 4 where it doubles, where activations
stand) is our choice. 2.59 M parameters, where that reading has 2.62 M.
"""

from __future__ import annotations

from torch import Tensor, nn

from .shared import Fusion, Network, Residual


def residual_block(channels: int) -> Residual:
    """3x3, LeakyReLU 0.2, 3x3, added to its input: (B, C, H, W) -> (B, C, H, W)."""
    first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return Residual(body=nn.Sequential(first, nn.LeakyReLU(0.2), second))


def _level(convolution: nn.Module, channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.LeakyReLU(0.2), *(residual_block(channels) for _ in range(blocks)))


class UNet(Network):
    """Three levels of residual blocks, skips that are added, and the residual of the picture at the end.

    ``width`` channels at full size, doubled at each of the two levels below. One picture. A prior may enter at the
    bottleneck, the coarsest, and at both skips.
    """

    multiple = 4

    def __init__(self, width: int = 32):
        super().__init__()
        one, two, three = width, 2 * width, 4 * width
        self.encoder1 = _level(nn.Conv2d(3, one, 7, padding=3), one, 3)
        self.encoder2 = _level(nn.Conv2d(one, two, 3, stride=2, padding=1), two, 3)
        self.encoder3 = _level(nn.Conv2d(two, three, 3, stride=2, padding=1), three, 6)
        self.up2 = nn.ConvTranspose2d(three, two, 4, stride=2, padding=1)
        self.decoder2 = nn.Sequential(*(residual_block(two) for _ in range(3)))
        self.up1 = nn.ConvTranspose2d(two, one, 4, stride=2, padding=1)
        self.decoder1 = nn.Sequential(*(residual_block(one) for _ in range(3)))
        self.ending = nn.Sequential(nn.Conv2d(one, 3, 7, padding=3), nn.Tanh())
        self.fusions = nn.ModuleList((Fusion(three, 2), Fusion(two, 1), Fusion(one, 0)))

    def stages(self, x: Tensor) -> list[Tensor]:
        bottom, middle, top = self.fusions
        skip1 = self.encoder1(x)  # (B, C, H, W)
        skip2 = self.encoder2(skip1)  # (B, 2C, H/2, W/2)
        y = bottom(self.encoder3(skip2))  # (B, 4C, H/4, W/4)
        y = self.decoder2(middle(self.up2(y), skip2))  # (B, 2C, H/2, W/2)
        y = self.decoder1(top(self.up1(y), skip1))  # (B, C, H, W)
        return [x + self.ending(y)]
