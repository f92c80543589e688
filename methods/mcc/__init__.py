"""Method `mcc`: masked collaborative contrast."""

from methods.mcc.model import MCC

__all__ = ["MCC"]
