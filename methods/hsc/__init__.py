"""Method `hsc`: hierarchical semantic contrast."""

from methods.hsc.model import HSC

__all__ = ["HSC"]
