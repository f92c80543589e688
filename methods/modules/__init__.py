"""Networks that several methods share; importing the package registers them."""

from methods.modules.deeplabv2 import DeepLabV2
from methods.modules.resnet import StageResNet

__all__ = ["DeepLabV2", "StageResNet"]
