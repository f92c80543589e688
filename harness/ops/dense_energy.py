"""The dense CRF energy of a soft segmentation as a loss, with the gradient that was released.

Source: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", ECCV 2018, as MCC and
ToCo use it (mcc spec section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.ops.permutohedral import LinearMap, build_lattice, linear_filter

Kernel = Literal["lattice", "exact_scaled"]
Gradient = Literal["released", "true"]

IGNORE = 255
EXACT_SCALE = 0.57
"""Best scale of the exact kernel to the lattice's on photographs (mcc spec section 4.4)."""

_EXACT_ROWS = 1024


@dataclass(frozen=True)
class ExactKernel:
    """Sum over all pixels of the same image, weighted by exp(-|f_i - f_j|^2 / 2): quadratic in the pixels.

    Attributes:
        features: (N, P, d) of the P pixels of each image.
        scale: factor of the sums.
    """

    features: Tensor
    scale: float = 1.0

    def apply(self, values: Tensor, transpose: bool = False) -> Tensor:
        """Sums (N * P, K) of values (N * P, K); the map is symmetric."""
        images = values.reshape(len(self.features), -1, values.shape[1])
        sums = torch.empty_like(images)
        for features, value, total in zip(self.features, images, sums, strict=True):
            for start in range(0, len(features), _EXACT_ROWS):
                rows = slice(start, start + _EXACT_ROWS)
                # Differences, not |a|^2 + |b|^2 - 2ab, which loses the digits of near neighbours.
                distance = torch.cdist(features[rows], features, compute_mode="donot_use_mm_for_euclid_dist")
                total[rows] = distance.square_().mul_(-0.5).exp_() @ value
        return sums.reshape_as(values).mul_(self.scale)


def bilateral_features(images: Tensor, sigma_xy: float, sigma_rgb: float) -> Tensor:
    """Column, row and colour of each pixel in units of the deviations.

    Args:
        images: (N, 3, H, W) in 0..255.
        sigma_xy: in pixels.
        sigma_rgb: in grey levels.

    Returns:
        (N, H * W, 5) of the images' type.
    """
    count, _, height, width = images.shape
    options: dict[str, Any] = {"dtype": images.dtype, "device": images.device}
    row, column = torch.meshgrid(
        torch.arange(height, **options), torch.arange(width, **options), indexing="ij"
    )
    place = (torch.stack([column, row]) / sigma_xy).expand(count, 2, height, width)
    return torch.cat([place, images / sigma_rgb], dim=1).flatten(2).transpose(1, 2)


def dense_energy_loss(
    images: Tensor,
    probabilities: Tensor,
    roi: Tensor,
    labels: Tensor,
    *,
    weight: float = 1e-7,
    sigma_rgb: float = 15.0,
    sigma_xy: float = 100.0,
    scale: float = 0.5,
    kernel: Kernel = "lattice",
    gradient: Gradient = "released",
) -> Tensor:
    """Minus the agreement of similar pixels, counted where pixels are uncertain (mcc spec section 4).

    Args:
        images: (N, 3, H, W) in 0..255, not rounded.
        probabilities: (N, K, H, W), which sum to 1 over K.
        roi: (N, H, W), 1 where there is image and 0 where there is padding.
        labels: (N, H, W), 255 where ignored.
        weight: factor of the energy. 0, as in a warm-up, computes nothing: the gradients are zeros.
        sigma_rgb: deviation of colours in grey levels.
        sigma_xy: of positions, in pixels of the full size.
        scale: of the size at which the energy is computed.
        kernel: the lattice, or 0.57 times the exact kernel, only near to it and quadratic in the pixels.
        gradient: the released one takes the gate as constant and as if it commuted with the filter.

    Returns:
        The loss, a scalar.
    """
    if weight == 0:
        return probabilities.sum() * 0
    with torch.no_grad():
        images = F.interpolate(images, scale_factor=scale, mode="nearest")
        inside = F.interpolate(roi[:, None].to(probabilities.dtype), scale_factor=scale, mode="nearest")
        ignored = F.interpolate(labels[:, None].float(), scale_factor=scale, mode="nearest") == IGNORE
    probabilities = F.interpolate(probabilities, scale_factor=scale, mode="bilinear", align_corners=False)
    features = bilateral_features(images.to(probabilities.dtype), sigma_xy * scale, sigma_rgb)
    return gated_energy(probabilities, inside, ignored, _filter(features, kernel), weight, gradient)


def gated_energy(
    probabilities: Tensor,
    inside: Tensor,
    ignored: Tensor,
    similar: LinearMap,
    weight: float,
    gradient: Gradient = "released",
) -> Tensor:
    """The energy of mcc spec section 4.3.

    Args:
        probabilities: (N, K, H, W).
        inside: (N, 1, H, W), 1 inside the content box and 0 outside.
        ignored: (N, 1, H, W) bool.
        similar: sums over similar pixels of the same image, of (N * H * W, K).
        weight: factor.
        gradient: as there.

    Returns:
        A scalar.
    """
    gate = (inside - probabilities.amax(1, keepdim=True)).masked_fill(ignored, 1).clamp(min=0)
    columns = [_pixels(planes) for planes in (probabilities, gate, inside)]
    factor = weight / len(probabilities)
    if gradient == "released":
        return _ReleasedEnergy.apply(*columns, similar, factor)  # type: ignore[no-untyped-call]
    probability, gate, inside = columns
    soft = probability * inside
    return -factor * (soft * gate * linear_filter(soft, similar)).sum()


def _pixels(planes: Tensor) -> Tensor:
    """(N, K, H, W) to (N * H * W, K)."""
    return planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1])


def _filter(features: Tensor, kernel: Kernel) -> LinearMap:
    """The filter for features (N, P, 5)."""
    if kernel == "exact_scaled":
        return ExactKernel(features, EXACT_SCALE)
    count, pixels, _ = features.shape
    image = torch.arange(count, device=features.device).repeat_interleave(pixels) if count > 1 else None
    return build_lattice(features.reshape(count * pixels, -1), image)


class _ReleasedEnergy(torch.autograd.Function):
    """The energy with the released backward, twice the gated filter output (mcc spec, quirk Q8)."""

    @staticmethod
    def forward(
        ctx: Any, probability: Tensor, gate: Tensor, inside: Tensor, similar: LinearMap, factor: float
    ) -> Tensor:
        soft = probability * inside
        gated = similar.apply(soft).mul_(gate)
        value = -factor * (soft * gated).sum()
        ctx.save_for_backward(gated.mul_(inside).mul_(-2 * factor))
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None, None
