"""Converters of authors' checkpoints by layout name (`harness weights convert --layout NAME`)."""

from __future__ import annotations

from harness.conversion import Converter
from methods.cam import model as cam
from methods.irn import convert as irn
from methods.modules import deeplabv2, resnet
from methods.vwe import checkpoint as vwe

CONVERTERS: dict[str, Converter] = {
    "cam": cam.convert_authors,
    "deeplabv1": deeplabv2.convert_deeplabv1,
    "deeplabv2": deeplabv2.convert_authors,
    "irn": irn.convert_authors,
    "torchvision_resnet": resnet.convert_torchvision,
    "vwe": vwe.convert_authors,
}
