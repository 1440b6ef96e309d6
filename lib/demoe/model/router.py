"""The attention-based router: which blur is this? (Section 3.2; layer sizes from the authors' release.)"""

from __future__ import annotations

from torch import Tensor, nn


class Router(nn.Module):
    """(B, C, H, W) features of the encoder's end -> (B, N) logits over the N blur types.

    A bottleneck, a spatial attention map multiplied in, the average over all pixels, a two-layer classifier.
    """

    def __init__(self, channels: int, num_experts: int = 5):
        super().__init__()
        self.conv_bottleneck = nn.Sequential(
            nn.Conv2d(channels, 256, 1), nn.BatchNorm2d(256), nn.ReLU(inplace=True), nn.Dropout2d(0.2)
        )
        self.attention = nn.Sequential(nn.Conv2d(256, 1, 1), nn.Sigmoid())
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(256, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(128, num_experts),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_bottleneck(x)  # (B, 256, H, W)
        x = x * self.attention(x)
        return self.classifier(x)  # (B, N)
