"""Method `vwe`: visual words learning (VWE) and its journal variants VWL-L and VWL-M."""

from methods.vwe.model import VARIANTS, VWE

__all__ = ["VARIANTS", "VWE"]
