"""Method `eps`: saliency as pixel supervision."""

from methods.eps.model import EPS

__all__ = ["EPS"]
