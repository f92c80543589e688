"""Converters by layout name, for initial weights and for `harness weights convert NAME …`.

`deeplabv1`, `torchvision_resnet`, `resnet38_mxnet`, `resnet101s` and `vit` give the names of a backbone, all
others those of whole models.
"""

from __future__ import annotations

from harness.conversion import CONVERTERS
from methods.cam import model as cam
from methods.eps import model as eps
from methods.hsc import model as hsc
from methods.irn import convert as irn
from methods.modules import affinitynet, deeplab_aspp, deeplabv2, resnet, resnet38, vit, wide_cam
from methods.ppc import model as ppc
from methods.rtc import model as rtc
from methods.seam import model as seam
from methods.semples import convert as semples
from methods.toco import network as toco
from methods.vwe import checkpoint as vwe
from methods.weaktr import model as weaktr

CONVERTERS.update(
    {
        "affinitynet": affinitynet.convert_authors,
        "cam": cam.convert_authors,
        "clip_openai": semples.convert_openai,
        "deeplab_aspp": deeplab_aspp.convert_authors,
        "deeplabv1": deeplabv2.convert_deeplabv1,
        "deeplabv2": deeplabv2.convert_authors,
        "eps": eps.convert_authors,
        "hsc": hsc.convert_authors,
        "irn": irn.convert_authors,
        "ppc": ppc.convert_authors,
        "resnet101s": deeplab_aspp.convert_resnet101s,
        "resnet38_mxnet": resnet38.convert_mxnet,
        "rtc": rtc.convert_authors,
        "seam": seam.convert_authors,
        "semples_prompts": semples.convert_prompts,
        "swin": semples.convert_swin,
        "toco": toco.convert_authors,
        "torchvision_resnet": resnet.convert_torchvision,
        "vit": vit.convert_imagenet,
        "vwe": vwe.convert_authors,
        "weaktr": weaktr.convert_authors,
        "weaktr_deit": weaktr.convert_deit,
        "wide_cam": wide_cam.convert_authors,
    }
)
