"""The U-Net that MPRNet (Zamir et al., CVPR 2021) and MSSNet (Kim et al., ECCVW 2022) repeat stage by stage.

The names are those of both authors' code, which are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .shared import Fusion, named

Widths = tuple[int, int, int]  # channels at full, half and quarter size
Block = Callable[[int], nn.Module]  # channels -> a block that keeps shapes


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution without bias."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


def resized(factor: float, inputs: int, outputs: int) -> nn.Sequential:
    """(B, C, H, W) -> (B, C', factor H, factor W), bilinear, then 1x1."""
    resize = nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
    return nn.Sequential(resize, pointwise(inputs, outputs))


class Encoder(nn.Module):
    """(B, C, H, W) -> features at full, half and quarter size.

    With ``earlier`` it adds what a stage before had at each size in its encoder and in its decoder, through 1x1.
    """

    def __init__(self, block: Block, widths: Widths, earlier: bool = False):
        super().__init__()
        one, two, three = widths
        self.encoder_level1, self.encoder_level2, self.encoder_level3 = (
            nn.Sequential(block(width), block(width)) for width in widths
        )
        self.down12, self.down23 = named(down=resized(0.5, one, two)), named(down=resized(0.5, two, three))
        if earlier:
            self.csff_enc1, self.csff_enc2, self.csff_enc3 = (pointwise(width, width) for width in widths)
            self.csff_dec1, self.csff_dec2, self.csff_dec3 = (pointwise(width, width) for width in widths)

    def forward(self, x: Tensor, encoded: Sequence[Tensor] = (), decoded: Sequence[Tensor] = ()) -> list[Tensor]:
        levels, found = (self.encoder_level1, self.encoder_level2, self.encoder_level3), []
        for index, level in enumerate(levels):
            if found:
                x = (self.down12, self.down23)[index - 1](found[-1])
            x = level(x)
            if encoded:
                before = (self.csff_enc1, self.csff_enc2, self.csff_enc3)[index](encoded[index])
                x = x + before + (self.csff_dec1, self.csff_dec2, self.csff_dec3)[index](decoded[index])
            found.append(x)
        return found  # (B, C, H, W), (B, C', H/2, W/2), (B, C'', H/4, W/4)


class Decoder(nn.Module):
    """The encoder's features -> as many again, of the same shapes. Skips go through a block and are added."""

    def __init__(self, block: Block, widths: Widths):
        super().__init__()
        one, two, three = widths
        self.decoder_level1, self.decoder_level2, self.decoder_level3 = (
            nn.Sequential(block(width), block(width)) for width in widths
        )
        self.skip_attn1, self.skip_attn2 = block(one), block(two)
        self.up21, self.up32 = named(up=resized(2, two, one)), named(up=resized(2, three, two))

    def forward(self, encoded: Sequence[Tensor], fuse: Sequence[Callable[[Tensor, Tensor], Tensor]]) -> list[Tensor]:
        """``fuse``: how upsampled features and a skip meet, at half and at full size."""
        first, second, third = encoded
        third = self.decoder_level3(third)
        second = self.decoder_level2(fuse[0](self.up32(third), self.skip_attn2(second)))
        first = self.decoder_level1(fuse[1](self.up21(second), self.skip_attn1(first)))
        return [first, second, third]


def fusions(widths: Widths) -> list[Fusion]:
    """Those of one decoder, in the order of use."""
    return [Fusion(widths[1], 1), Fusion(widths[0], 0)]
