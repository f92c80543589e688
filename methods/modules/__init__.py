"""Networks that several methods share; importing the package registers them."""

from methods.modules.affinity_crop import AffinityCrop
from methods.modules.affinity_refiners import AffinityCRF, AffinityRandomWalk
from methods.modules.affinitynet import AffinityNet
from methods.modules.deeplab_aspp import DeepLabASPP, DeepLabLargeFOV
from methods.modules.deeplabv2 import DeepLabV2
from methods.modules.hsv_scale_crop import HSVScaleCrop
from methods.modules.resnet import StageResNet
from methods.modules.resnet38 import ResNet38
from methods.modules.wide_cam import WideCAM

__all__ = [
    "AffinityCRF",
    "AffinityCrop",
    "AffinityNet",
    "AffinityRandomWalk",
    "DeepLabASPP",
    "DeepLabLargeFOV",
    "DeepLabV2",
    "HSVScaleCrop",
    "ResNet38",
    "StageResNet",
    "WideCAM",
]
