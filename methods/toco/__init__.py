"""Method `toco`: token contrast; `mcc` stands on it."""

from methods.toco.fused_segmentation import FusedSegmentation
from methods.toco.inference import SquareLogits, SquareMaps
from methods.toco.model import ToCo
from methods.toco.network import TokenClassifier
from methods.toco.views import ContrastViews

__all__ = [
    "ContrastViews",
    "FusedSegmentation",
    "SquareLogits",
    "SquareMaps",
    "ToCo",
    "TokenClassifier",
]
