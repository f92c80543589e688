"""The learning rate of ToCo and MCC (spec `mcc`, section 6)."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupPolyLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up, then polynomial decay as if it had begun with the training: the rate drops in between.

    Step t has the factor 1 - (1 - t / warmup)(1 - ratio) before `warmup`, then (1 - t / max_steps)^power;
    from step `max_steps` on the last one stays.

    Args:
        optimizer: what it drives.
        max_steps: length of the decay, warm-up included.
        warmup: steps of the warm-up.
        ratio: factor of the first step. The release calls it a rate.
        power: exponent of the decay.
    """

    def __init__(
        self,
        optimizer: Any,
        max_steps: int,
        warmup: int = 1500,
        ratio: float = 1e-6,
        power: float = 0.9,
        **kwargs: Any,
    ) -> None:
        self.max_steps, self.warmup = max_steps, warmup
        self.ratio, self.power = ratio, power
        super().__init__(optimizer, **kwargs)

    def _get_value(self) -> list[float]:
        step = min(self.last_step, self.max_steps - 1)
        if step < self.warmup:
            factor = 1 - (1 - step / self.warmup) * (1 - self.ratio)
        else:
            factor = (1 - step / self.max_steps) ** self.power
        return [base * factor for base in self.base_values]
