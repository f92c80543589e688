"""Method `cam`: the plain class activation map baseline with a ResNet-50."""

from methods.cam.model import CAMNet

__all__ = ["CAMNet"]
