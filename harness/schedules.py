"""Learning-rate schedules that mmengine does not have."""

from __future__ import annotations

import math
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


@PARAM_SCHEDULERS.register_module()
class WarmupPolyLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up, then polynomial decay as if it had begun with the training: the rate drops in between.

    The learning rate of ToCo and MCC (spec `mcc`, section 6).

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


@PARAM_SCHEDULERS.register_module()
class EpochCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Cosine by whole epochs after a linear warm-up, as timm's trainings step it (spec `semples`, section 6).

    Epoch e has the rate of schedule index t = max(e - `late`, 0): in the warm-up `warmup_lr` +
    t (base - `warmup_lr`) / `warmup_epochs`, then `min_lr` + (base - `min_lr`)(1 + cos(pi t / epochs)) / 2.

    Args:
        optimizer: what it drives.
        epochs: length of the cosine; the warm-up is part of it.
        per_epoch: iterations of an epoch; the train stage knows them.
        min_lr: where the cosine ends.
        warmup_epochs: length of the warm-up.
        warmup_lr: where it begins.
        late: epochs by which the rate lags behind; the releases of DeiT and after it step with the epoch just
            finished, so that epochs 0 and 1 have the same rate.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        epochs: int,
        per_epoch: int,
        min_lr: float = 0.0,
        warmup_epochs: int = 0,
        warmup_lr: float = 1e-6,
        late: int = 1,
        **kwargs: Any,
    ) -> None:
        self.epochs, self.per_epoch, self.late = epochs, per_epoch, late
        self.min_lr, self.warmup_epochs, self.warmup_lr = min_lr, warmup_epochs, warmup_lr
        super().__init__(optimizer, **kwargs)

    def _get_value(self) -> list[float]:
        index = max(self.last_step // self.per_epoch - self.late, 0)
        return [self._rate(base, index) for base in self.base_values]

    def _rate(self, base: float, index: int) -> float:
        if index < self.warmup_epochs:
            return self.warmup_lr + index * (base - self.warmup_lr) / self.warmup_epochs
        return self.min_lr + 0.5 * (base - self.min_lr) * (1 + math.cos(math.pi * index / self.epochs))
