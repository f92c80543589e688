"""Fully connected CRF of an image, on `pydensecrf` or on torch (`CRFParameters.backend`).

Source: Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NIPS 2011. Parameters of the callers: irn spec B.2 (hard labels), vwe spec sections 8 and 9 (probabilities).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from pydensecrf.densecrf import DenseCRF2D
from pydensecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian

from harness.ops.crf_parameters import CRFParameters
from harness.ops.mean_field import mean_field, pairwise

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Inference = Callable[[npt.NDArray[np.floating]], tuple[Labels, Floats]]
"""From a unary energy (C, H, W) to labels (H, W) and marginals (C, H, W)."""

MIN_PROBABILITY = 1e-5
"""Probabilities below this count as this: the unary is a logarithm."""


def crf_from_labels(
    image: Image, labels: npt.NDArray[np.integer], n_labels: int, gt_prob: float, parameters: CRFParameters
) -> tuple[Labels, Floats]:
    """CRF on a hard label map: each given label is right with probability `gt_prob` (irn spec B.2).

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers in [0, n_labels).
        n_labels: number of labels, at least 2.
        gt_prob: confidence in the given label; the rest is shared equally by the other labels.
        parameters: kernels and iterations.

    Returns:
        (H, W) int64 labels and (n_labels, H, W) float32 marginals.

    Raises:
        ValueError: fewer than two labels, or a label outside of their range.
    """
    return _mean_field(image, _label_energy(labels, n_labels, gt_prob), parameters)


def crfs_from_labels(
    image: Image, maps: npt.NDArray[np.integer], n_labels: int, gt_prob: float, parameters: CRFParameters
) -> Labels:
    """`crf_from_labels` on several label maps of one image, whose kernels are built once.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: (N, H, W) integers in [0, n_labels).
        n_labels, gt_prob, parameters: as there.

    Returns:
        (N, H, W) int64 labels.

    Raises:
        ValueError: as there.
    """
    infer = _inference(image, n_labels, parameters)
    return np.stack([infer(_label_energy(labels, n_labels, gt_prob))[0] for labels in maps])


def _label_energy(labels: npt.NDArray[np.integer], n_labels: int, gt_prob: float) -> npt.NDArray[np.floating]:
    """Unary energy (n_labels, H, W) of a hard label map."""
    if n_labels < 2:
        raise ValueError(f"a CRF needs at least two labels, not {n_labels}")
    if labels.min() < 0 or labels.max() >= n_labels:
        raise ValueError(f"labels from {labels.min()} to {labels.max()} given, {n_labels} labels declared")
    given = labels[None] == np.arange(n_labels).reshape(-1, 1, 1)
    return np.where(given, -np.log(gt_prob), -np.log((1 - gt_prob) / (n_labels - 1)))


def crf_from_probabilities(
    image: Image, probability: npt.NDArray[np.floating], parameters: CRFParameters
) -> tuple[Labels, Floats]:
    """CRF on class probabilities (vwe spec sections 8 and 9).

    Args:
        image: (H, W, 3) uint8 RGB.
        probability: (C, H, W), summing to 1 over C.
        parameters: kernels and iterations.

    Returns:
        (H, W) int64 labels and (C, H, W) float32 marginals.
    """
    unary = np.clip(probability, MIN_PROBABILITY, 1.0)
    np.negative(np.log(unary, out=unary), out=unary)  # in place: 81 labels at full size are 100 MiB and more
    return _mean_field(image, unary, parameters)


def _mean_field(
    image: Image, unary: npt.NDArray[np.floating], parameters: CRFParameters
) -> tuple[Labels, Floats]:
    """Mean-field inference from a unary energy (C, H, W)."""
    if image.shape[:2] != unary.shape[1:]:
        raise ValueError(f"the image is {image.shape[:2]}, its unary energy {unary.shape[1:]}")
    return _inference(image, len(unary), parameters)(unary)


def _inference(image: Image, classes: int, parameters: CRFParameters) -> Inference:
    """The inference on an image, whose kernels are built now, for any number of unary energies."""
    if parameters.backend == "pydensecrf":
        crf = _with_kernels(image, classes, parameters)

        def on_library(unary: npt.NDArray[np.floating]) -> tuple[Labels, Floats]:
            probability = _marginals(crf, unary, parameters.iterations)
            return probability.argmax(axis=0), probability

        return on_library

    device = "cuda" if torch.cuda.is_available() else "cpu"
    terms = pairwise(image, parameters, device)

    def on_torch(unary: npt.NDArray[np.floating]) -> tuple[Labels, Floats]:
        energy = torch.from_numpy(np.ascontiguousarray(unary, dtype=np.float32)).to(device)
        field = mean_field(energy, terms, parameters.iterations)
        return field.labels.cpu().numpy(), field.marginals.cpu().numpy()

    return on_torch


def _with_kernels(image: Image, classes: int, parameters: CRFParameters) -> DenseCRF2D:
    """Return a CRF with the pairwise terms of an image, without a unary energy."""
    height, width = image.shape[:2]
    crf = DenseCRF2D(width, height, classes)
    if parameters.rows_first:
        spatial, colour = (parameters.bilateral_sxy,) * 2, (parameters.bilateral_srgb,) * 3
        near = create_pairwise_gaussian((parameters.gaussian_sxy,) * 2, (height, width))
        crf.addPairwiseEnergy(near, compat=parameters.gaussian_compat)
        alike = create_pairwise_bilateral(spatial, colour, image, chdim=2)
        crf.addPairwiseEnergy(alike, compat=parameters.bilateral_compat)
        return crf
    crf.addPairwiseGaussian(sxy=parameters.gaussian_sxy, compat=parameters.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=parameters.bilateral_sxy,
        srgb=parameters.bilateral_srgb,
        # The library asks for a writable, contiguous buffer although it only reads it.
        rgbim=np.require(image, dtype=np.uint8, requirements=["C", "W"]),
        compat=parameters.bilateral_compat,
    )
    return crf


def _marginals(crf: DenseCRF2D, unary: npt.NDArray[np.floating], iterations: int) -> Floats:
    """Marginals (C, H, W) for a unary energy (C, H, W), which replaces the one before."""
    crf.setUnaryEnergy(np.ascontiguousarray(unary.reshape(len(unary), -1), dtype=np.float32))
    return np.asarray(crf.inference(iterations), dtype=np.float32).reshape(unary.shape)
