"""IRNet: pseudo labels from CAMs by inter-pixel relations (Ahn, Cho, Kwak, CVPR 2019, arXiv 1904.05044).

A refinement stage for the CAMs of any method: confident labels, training of IRNet on them, random walk.
Importing this package registers the network in mmseg's `MODELS` and the refiners in `harness.registry`.
"""

from __future__ import annotations

from methods.irn.model import IRNet
from methods.irn.refiners import IRLabel, IRNRandomWalk

__all__ = ["IRLabel", "IRNRandomWalk", "IRNet"]
