"""Method `semples`: semantic prompt learning with CLIP on the network of WeakTr."""

from methods.semples.clip import CLIPTowers
from methods.semples.model import ContrastivePrompts, PromptGuidedRefinement, SegmentLabelMatching
from methods.semples.pair import CaptionContrast

__all__ = [
    "CLIPTowers",
    "CaptionContrast",
    "ContrastivePrompts",
    "PromptGuidedRefinement",
    "SegmentLabelMatching",
]
