"""Method `seam`: self-supervised equivariant attention."""

from methods.seam.model import SEAM

__all__ = ["SEAM"]
