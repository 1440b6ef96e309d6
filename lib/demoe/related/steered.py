"""A network of ``networks/``, with a semantic prior or without, as a ``Spec`` trains it and a checkpoint keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache, partial

import torch
from torch import nn

from .networks.deepdeblur import DeepDeblur
from .networks.hinet import HINet
from .networks.mimo_unet import MIMOUNet, MIMOUNetPlus
from .networks.mprnet_stage1 import MPRNetStage1
from .networks.mssnet import MSSNet
from .networks.shared import Restoring
from .networks.spandrel_networks import SpandrelNetwork
from .networks.unet import UNet
from .prior import PriorStudent, with_prior

NETWORKS = {
    "unet": UNet,
    "mimo-unet": MIMOUNet,
    "mimo-unet+": MIMOUNetPlus,
    "mprnet-stage1": MPRNetStage1,
    "mssnet": MSSNet,
    "deepdeblur": DeepDeblur,
    "hinet": HINet,
    "mprnet-lite": partial(SpandrelNetwork, "MPRNet-lite"),  # no place for a prior: its mode is ""
}
# They add the picture, and restore it as it is until they have learnt, as the house's networks do: else a short
# training ends before they are back at their input. Not stated in the papers; our choice.
FROM_THE_INPUT = ("unet", "mimo-unet", "mimo-unet+", "mprnet-stage1")


@dataclass(frozen=True)
class SteeredConfig:
    """What a ``Steered`` is made of. The defaults are Net6 of Table 4, with EfficientNet-Lite0 to learn from."""

    network: str = "unet"  # a key of ``NETWORKS``
    sizes: tuple[int, ...] = ()  # the first arguments of its class; the published ones where there are none
    mode: str = "sat"  # how priors enter: "sat", "add", "concat"; "" for the network alone, Net0
    clc: bool = True
    mla: bool = True
    image: str = ""  # "probability" or "one-hot": an image-level prior, of the teacher's classes; ``mla`` is False then
    widths: tuple[int, ...] = (64, 128, 256)  # of the student, a level
    teacher_channels: tuple[int, ...] = (24, 40, 112)  # a level


class Steered(Restoring):
    """(B, 3, H, W) in [0, 1], any size -> ``Stages``; the fields of ``SteeredConfig`` are its arguments.

    Raises ``ValueError`` for a network that is not there, and what the network and the prior raise.
    """

    def __init__(self, **fields):
        config = SteeredConfig(**fields)
        if config.network not in NETWORKS:
            raise ValueError(f"unknown network {config.network!r}: choose one of {', '.join(NETWORKS)}")
        network = NETWORKS[config.network](*config.sizes)
        if config.network in FROM_THE_INPUT:
            for part in network.modules():
                if isinstance(part, nn.Conv2d) and part.out_channels == 3:
                    nn.init.zeros_(part.weight)
                    if part.bias is not None:
                        nn.init.zeros_(part.bias)
        if config.mode:
            student = PriorStudent(config.widths, config.teacher_channels)
            network = with_prior(network, student, config.mode, config.clc, config.mla, config.image)
        super().__init__(network)
        self.config = config


@cache
def parameters(config: SteeredConfig) -> int:
    """How many parameters a ``Steered`` has, student included; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Steered(**asdict(config)).parameters())
