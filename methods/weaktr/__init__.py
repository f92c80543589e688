"""Method `weaktr`: CAMs of a plain vision transformer with adaptive attention fusion, and a Segmenter."""

from methods.modules.cam_label_crf import CAMLabelCRF
from methods.weaktr.backbone import ClassTokenViT
from methods.weaktr.model import WeakTr
from methods.weaktr.network import AttentionCAM
from methods.weaktr.segmenter import Segmenter
from methods.weaktr.sliding_window import SlidingWindowSegmentation
from methods.weaktr.transforms import AugmentedCrop

__all__ = [
    "AttentionCAM",
    "AugmentedCrop",
    "CAMLabelCRF",
    "ClassTokenViT",
    "Segmenter",
    "SlidingWindowSegmentation",
    "WeakTr",
]
