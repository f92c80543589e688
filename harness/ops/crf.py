"""Fully connected CRF of an image, on `pydensecrf`.

Source: Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NIPS 2011. Parameters of the callers: irn spec B.2 (hard labels), vwe spec sections 8 and 9 (probabilities).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydensecrf.densecrf import DenseCRF2D
from pydensecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian

from harness.errors import InputError, nearest

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

MIN_PROBABILITY = 1e-5
"""Probabilities below this count as this: the unary is a logarithm."""


@dataclass(frozen=True)
class CRFParameters:
    """Parameters of mean-field inference with a smoothness and an appearance kernel.

    Attributes:
        iterations: mean-field iterations.
        gaussian_sxy: standard deviation of the smoothness kernel in pixels.
        gaussian_compat: its weight.
        bilateral_sxy: spatial standard deviation of the appearance kernel in pixels.
        bilateral_srgb: its colour standard deviation in grey levels (0-255).
        bilateral_compat: its weight.
        rows_first: give the kernels positions as (row, column). The lattice approximates one dimension after
            the other, so the marginals differ by some percent from those of (column, row).
    """

    iterations: int
    gaussian_sxy: float
    gaussian_compat: float
    bilateral_sxy: float
    bilateral_srgb: float
    bilateral_compat: float
    rows_first: bool = False

    def updated(self, settings: Mapping[str, Any]) -> CRFParameters:
        """These parameters with some of them set by a config.

        Raises:
            InputError: a setting has no such name.
        """
        known = [field.name for field in fields(self)]
        for name in settings:
            if name not in known:
                raise InputError(
                    f"crf.{name} is not a parameter of the CRF{nearest(name, known)}; use {', '.join(known)}."
                )
        return replace(self, **settings)


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
    crf = _with_kernels(image, n_labels, parameters)
    energies = (_label_energy(labels, n_labels, gt_prob) for labels in maps)
    return np.stack([_marginals(crf, energy, parameters.iterations).argmax(axis=0) for energy in energies])


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
    return _mean_field(image, -np.log(np.clip(probability, MIN_PROBABILITY, 1.0)), parameters)


def _mean_field(
    image: Image, unary: npt.NDArray[np.floating], parameters: CRFParameters
) -> tuple[Labels, Floats]:
    """Mean-field inference from a unary energy (C, H, W)."""
    if image.shape[:2] != unary.shape[1:]:
        raise ValueError(f"the image is {image.shape[:2]}, its unary energy {unary.shape[1:]}")
    crf = _with_kernels(image, len(unary), parameters)
    probability = _marginals(crf, unary, parameters.iterations)
    return probability.argmax(axis=0), probability


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
