"""The deblurring networks of the related papers, small."""

from demoe.related.networks.deepdeblur import DeepDeblur
from demoe.related.networks.hinet import HINet
from demoe.related.networks.mimo_unet import MIMOUNet, MIMOUNetPlus
from demoe.related.networks.mprnet_stage1 import MPRNetStage1
from demoe.related.networks.mssnet import MSSNet
from demoe.related.networks.unet import UNet

SMALL = {
    "unet": lambda: UNet(4),
    "mimo": lambda: MIMOUNet(16, 1),
    "mimo+": lambda: MIMOUNetPlus(16, 1),
    "mprnet": lambda: MPRNetStage1(8, 4),
    "mssnet": lambda: MSSNet(8, 4, 4),
    "deepdeblur": lambda: DeepDeblur(1, 4),
    "hinet": lambda: HINet(4),
}
