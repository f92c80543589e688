"""Labels of a CRF that cannot win at any pixel, by a bound on what their messages could do.

In mean-field inference label k has the score -U_k(i) + m_k(i) at pixel i, where the message m_k = w K Q_k is
linear in the label's own marginals and not negative. The label l with the least energy at i has a score of at
least -U_l(i). So a set D of labels holds at most s(i) of the mass at pixel i, if

    s = s0 * exp(m),  s0(i) = sum over D of exp(U_l(i) - U_k(i)),  m >= w K s.

With s <= c s0 everywhere, m = c * w K s0 will do if exp(max m) <= c. One product w K s0 tells whether there
is such a c, and then, for every iteration:

- where s < 1, no label of D has the highest score: leaving D out of the arg-max is exact;
- giving D no messages, only its exp(-U), changes the sum that marginals are divided by, relatively, by at
  most s0 * (exp(m) - 1), which is asked to be below `TOLERANCE` at every pixel. The marginals of D themselves
  are too small by a factor of exp(m) at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

TOLERANCE = 1e-2
"""Relative change of the sum over labels that is allowed at the worst pixel; it scales all labels alike."""

_PEAKS = (0.5, 0.3, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 1e-3)
"""Sets that are tried: labels whose probability is nowhere more than this part of the pixel's highest."""


def can_win(unary: Tensor, messages: Callable[[Tensor], Tensor], iterations: int) -> Tensor:
    """Labels that are not proved to lose everywhere.

    Args:
        unary: (K, H, W) energies.
        messages: the sum over kernels, (N, C) marginals to (N, C).
        iterations: of the inference.

    Returns:
        (k,) int64, ascending. All, if no set of labels is proved to lose.
    """
    everything = torch.arange(len(unary), device=unary.device)
    if len(unary) < 3 or not iterations:
        return everything
    ratio = (unary.amin(0) - unary).flatten(1).exp_()
    peak = ratio.amax(1)
    losing = torch.stack([peak <= bound for bound in _PEAKS])
    losing = losing[losing.any(1)]
    if not len(losing):
        return everything
    losing = torch.unique_consecutive(losing, dim=0)
    start = ratio.t() @ losing.t().to(ratio.dtype)
    proved = _proved(start, messages(start))
    if not proved.any():
        return everything
    return everything[~losing[int(proved.nonzero()[0])]]


def _proved(start: Tensor, message: Tensor) -> Tensor:
    """Which sets are proved to lose and to change little.

    Args:
        start: (N, C), s0 of each set.
        message: (N, C), w K s0.

    Returns:
        (C,) bool.
    """
    growth = torch.tensor([_growth(peak) for peak in message.amax(0).tolist()], device=start.device)
    bound = message * growth
    loses = (start * bound.exp() < 1).all(0)
    return loses & (start * bound.expm1() <= TOLERANCE).all(0)


def _growth(peak: float) -> float:
    """The least c with exp(c * peak) <= c; infinite if there is none, which is so above 1 / e."""
    if peak > 1 / math.e:
        return math.inf
    c = 1.0
    for _ in range(100):  # rises to the fixed point, slowest at 1 / e, where any c up to e will do
        c = math.exp(c * peak)
    return math.e if peak > 0.36 else c * (1 + 1e-9)
