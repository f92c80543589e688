"""Method `ppc`: contrast of pixels with prototypes, on SEAM."""

from methods.ppc.model import PPC

__all__ = ["PPC"]
