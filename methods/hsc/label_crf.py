"""The CRF on the pseudo labels of a training step (spec `hsc`, section 5.4), in two implementations.

A CRF is called when the labels are there and returns a function that gives the result: what is computed on
another processor can run while the training goes on with something else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log

import numpy as np
import torch
from torch import Tensor

from harness.data.pixels import IMAGENET_MEAN, IMAGENET_STD
from harness.ops.crf import CRFParameters, crfs_from_labels

GT_PROB = 0.7
PARAMETERS = CRFParameters(
    iterations=10,
    gaussian_sxy=3,
    gaussian_compat=3,
    bilateral_sxy=50,
    bilateral_srgb=5,
    bilateral_compat=10,
)

Pending = Callable[[], Tensor]
LabelCRF = Callable[[Tensor, Tensor, int], Pending]


def lattice_crf(images: Tensor, labels: Tensor, num_labels: int) -> Pending:
    """CRF on the label maps of all views of a batch, on the CPU by `pydensecrf`: as released.

    On a GPU the copies to the CPU are only queued, and the result waits for them alone, not for what is
    queued after them.

    Args:
        images: (n, 3, h, w) normalised with ImageNet's mean and deviation; the same for all views.
        labels: (views, n, h, w) int64.
        num_labels: labels there are.

    Returns:
        A function that gives (views, n, h, w) int64 on the labels' device.
    """
    pixels, given = _on_cpu(_uint8(images).permute(0, 2, 3, 1)), _on_cpu(labels.transpose(0, 1))
    copied = None
    if labels.is_cuda:
        copied = torch.cuda.Event()
        copied.record()
    return partial(_finish, pixels, given, copied, num_labels, labels.device)


def _finish(
    pixels: Tensor, given: Tensor, copied: torch.cuda.Event | None, num_labels: int, device: torch.device
) -> Tensor:
    if copied is not None:
        copied.synchronize()
    refined = [
        crfs_from_labels(image, maps, num_labels, GT_PROB, PARAMETERS)
        for image, maps in zip(pixels.numpy(), given.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(refined, axis=1)).to(device, non_blocking=True)


def _on_cpu(tensor: Tensor) -> Tensor:
    """Contiguous copy on the CPU, which is not there before the device has come so far."""
    target = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return target.copy_(tensor, non_blocking=True)


def exact_crf(images: Tensor, labels: Tensor, num_labels: int) -> Pending:
    """The same mean field with exact kernels, where the lattice approximates them; on the labels' device.

    A kernel is a matrix of all pairs of pixels, which is small for the 16 x 16 pixels of a training step.
    Arguments and result as in `lattice_crf`.
    """
    views, samples, height, width = labels.shape
    rows, columns = torch.meshgrid(
        *(torch.arange(size, dtype=torch.float32, device=images.device) for size in (height, width)),
        indexing="ij",
    )
    places = torch.stack([rows.flatten(), columns.flatten()], dim=-1)
    colours = _uint8(images).float().flatten(2).transpose(1, 2)
    placed = (places / PARAMETERS.bilateral_sxy).expand(samples, -1, -1)
    bilateral = _kernel(torch.cat([placed, colours / PARAMETERS.bilateral_srgb], dim=-1))
    kernels = PARAMETERS.gaussian_compat * _kernel(places / PARAMETERS.gaussian_sxy)
    kernels = kernels + PARAMETERS.bilateral_compat * bilateral  # (n, S, S)
    unlikely, likely = log((1 - GT_PROB) / (num_labels - 1)), log(GT_PROB)
    energy = torch.full((views, samples, height * width, num_labels), unlikely, device=images.device)
    energy.scatter_(3, labels.flatten(2)[..., None], likely)
    probability = energy.softmax(-1)
    for _ in range(PARAMETERS.iterations):
        probability = (energy + kernels @ probability).softmax(-1)
    result = probability.argmax(-1).view(labels.shape)
    return lambda: result


def _kernel(features: Tensor) -> Tensor:
    """Gaussian kernel (..., S, S) of features (..., S, D), normalised on both sides."""
    distances = (features[..., :, None, :] - features[..., None, :, :]).square().sum(-1)
    kernel = (-distances / 2).exp()
    norm = kernel.sum(-1).rsqrt()
    return kernel * norm[..., :, None] * norm[..., None, :]


def _uint8(images: Tensor) -> Tensor:
    """The pixels of normalised images (n, 3, h, w), cut to whole numbers as released."""
    mean, deviation = (
        torch.tensor(values, device=images.device).view(3, 1, 1) * 255
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (images * deviation + mean).to(torch.uint8)


LABEL_CRFS: dict[str, LabelCRF] = {"lattice": lattice_crf, "exact": exact_crf}
