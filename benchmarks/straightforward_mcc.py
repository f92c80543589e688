"""A training step of MCC as it is written down: every pass on its own, hidden keys masked in all blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.mcc.model import MCC
from methods.modules.vit import Tokens
from methods.toco.network import Batch


class StraightforwardMCC(MCC):
    """The passes of spec `mcc`, section 1.3, without what section 11 saves."""

    def class_maps(self, image: Tensor, labels: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Every scale and mirror image has its own pass."""
        return super().class_maps(image, labels)

    def masked_tokens(self, images: Tensor, hidden: Tensor) -> Tensor:
        """A pass over all tokens per mask."""
        keys = F.pad(hidden.flatten(2), (1, 0))
        return torch.stack([self.backbone(images, view).class_token for view in keys])

    def global_tokens(self, batch: Batch, tokens: Tokens) -> Tensor:
        """Both global views pass the transformer for the student, and once more for the teacher."""
        with torch.no_grad():
            self._seen_by_teacher = self._both(batch)
        return self._both(batch)

    def _both(self, batch: Batch) -> Tensor:
        return torch.stack([self.class_tokens(batch.image), self.class_tokens(batch.second)])

    def project(self, views: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher sees its own passes."""
        student, _ = super().project(views, local)
        with torch.no_grad():
            seen = self._seen_by_teacher
            teacher = self.teacher(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        return student, teacher
