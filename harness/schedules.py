"""Learning-rate schedules that mmengine does not have."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class HeldPolyLR(LRSchedulerMixin, _ParamScheduler):
    """Polynomial decay that stands still when it ends before the training does.

    Step t has the factor (1 - t / max_steps)^power; from step `max_steps` on the last one stays. HSC decays
    for 13,215 steps and trains for 20,000 (spec `hsc`, section 6.2).

    Args:
        optimizer: what it drives.
        max_steps: length of the decay.
        power: its exponent.
    """

    def __init__(self, optimizer: Any, max_steps: int, power: float = 0.9, **kwargs: Any) -> None:
        self.max_steps = max_steps
        self.power = power
        super().__init__(optimizer, **kwargs)

    def _get_value(self) -> list[float]:
        step = min(self.last_step, self.max_steps - 1)
        factor = (1 - step / self.max_steps) ** self.power
        return [base * factor for base in self.base_values]
