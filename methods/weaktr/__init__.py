"""Method `weaktr`: CAMs of a plain vision transformer with adaptive attention fusion."""

from methods.weaktr.backbone import ClassTokenViT
from methods.weaktr.model import WeakTr
from methods.weaktr.network import AttentionCAM

__all__ = ["AttentionCAM", "ClassTokenViT", "WeakTr"]
