"""Converters by layout name, for initial weights and for `harness weights convert NAME …`.

`cam`, `deeplabv2`, `irn` and `vwe` give the names of whole models; `deeplabv1` and `torchvision_resnet` those
of their backbone, a `StageResNet`.
"""

from __future__ import annotations

from harness.conversion import CONVERTERS
from methods.cam import model as cam
from methods.irn import convert as irn
from methods.modules import deeplabv2, resnet
from methods.vwe import checkpoint as vwe

CONVERTERS.update(
    {
        "cam": cam.convert_authors,
        "deeplabv1": deeplabv2.convert_deeplabv1,
        "deeplabv2": deeplabv2.convert_authors,
        "irn": irn.convert_authors,
        "torchvision_resnet": resnet.convert_torchvision,
        "vwe": vwe.convert_authors,
    }
)
