from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from harness.errors import InputError
from harness.metrics.confusion import confusion_matrix, segmentation_metrics
from harness.ops.crf import crf_from_labels, crf_from_probabilities, crfs_from_labels
from harness.ops.crf_losers import TOLERANCE, _growth, can_win
from harness.ops.crf_parameters import CRFParameters
from harness.ops.crf_refiner import ALPHA_CRF, SEGMENTATION_CRF, DenseCRF
from harness.ops.mean_field import Pairwise, mean_field, pairwise

SHARED = Path(os.environ.get("HARNESS_SHARED", Path(__file__).resolve().parents[3] / "shared"))
VOC_MINI = SHARED / "data" / "voc-mini" / "VOCdevkit" / "VOC2012"
SIZE = (60, 77)
MCC_CRF = CRFParameters(10, 1, 1, 121, 5, 4)


def photograph(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Smooth shades, an edge and grain: (H, W, 3) uint8."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(1, 3, 6, 7, generator=generator) * 150 + 30
    shades = F.interpolate(low, size=size, mode="bicubic")[0]
    shades[:, :, size[1] // 2 :] += 40
    shades += torch.randn(shades.shape, generator=generator) * 3
    return shades.clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8)


def probabilities(classes: int, confident: float, seed: int = 1) -> np.ndarray:
    """Softmax of coarse logits, in which three classes are present: (C, H, W) float32."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randn(1, classes, 6, 8, generator=generator)
    winner = torch.randint(0, min(3, classes), (1, 1, 6, 8), generator=generator)
    low.scatter_add_(1, winner, torch.full((1, 1, 6, 8), float(confident)))
    return F.interpolate(low, size=SIZE, mode="bilinear")[0].softmax(0).numpy()


def on_torch(parameters: CRFParameters) -> CRFParameters:
    return replace(parameters, backend="torch")


def energy(probability: np.ndarray) -> torch.Tensor:
    return -torch.from_numpy(probability).clamp(min=1e-5).log()


@pytest.mark.parametrize("classes", [2, 21])
@pytest.mark.parametrize(
    "parameters",
    [SEGMENTATION_CRF, MCC_CRF, ALPHA_CRF, SEGMENTATION_CRF.updated({"rows_first": True})],
    ids=["deeplab", "mcc", "alpha", "rows_first"],
)
def test_backends_agree(parameters: CRFParameters, classes: int) -> None:
    image, probability = photograph(), probabilities(classes, confident=3)
    expected, marginals = crf_from_probabilities(image, probability, parameters)
    label, ours = crf_from_probabilities(image, probability, on_torch(parameters))
    assert (label == expected).mean() >= 0.998
    assert label.dtype == expected.dtype
    np.testing.assert_allclose(ours, marginals, rtol=0, atol=5e-3)
    assert len(np.unique(expected)) >= 2


def test_backends_agree_on_hard_labels() -> None:
    image, given = photograph(), probabilities(4, confident=3).argmax(0)
    expected, _ = crf_from_labels(image, given, 4, 0.7, SEGMENTATION_CRF)
    label, _ = crf_from_labels(image, given, 4, 0.7, on_torch(SEGMENTATION_CRF))
    assert (label == expected).mean() >= 0.998
    several = crfs_from_labels(image, np.stack([given, given[::-1]]), 4, 0.7, on_torch(SEGMENTATION_CRF))
    np.testing.assert_array_equal(several[0], label)


def test_images_of_several_sizes_do_not_share_a_gaussian() -> None:
    """The smoothness kernel is kept by size and parameters: neither a transposed image may get it."""
    for image in (photograph(), photograph(size=SIZE[::-1])):
        probability = np.full((2, *image.shape[:2]), 0.5, dtype=np.float32)
        probability[0, :20] = 0.9
        probability[1] = 1 - probability[0]
        for parameters in (SEGMENTATION_CRF, SEGMENTATION_CRF.updated({"gaussian_sxy": 5})):
            expected = crf_from_probabilities(image, probability, parameters)[1]
            ours = crf_from_probabilities(image, probability, on_torch(parameters))[1]
            np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-3)


def test_auto_is_one_of_the_backends() -> None:
    image, probability = photograph(), probabilities(3, confident=3)
    results = {
        backend: crf_from_probabilities(image, probability, replace(SEGMENTATION_CRF, backend=backend))[1]
        for backend in ("pydensecrf", "torch", "auto")
    }
    assert any(np.array_equal(results["auto"], results[name]) for name in ("pydensecrf", "torch"))


def test_a_config_chooses_the_backend() -> None:
    logits = np.log(probabilities(3, confident=4))
    masks = [DenseCRF(crf={"backend": name})(photograph(), {"logits": logits}) for name in ("torch", "auto")]
    expected = DenseCRF()(photograph(), {"logits": logits})
    for mask in masks:
        assert (mask == expected).mean() >= 0.998


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match=r"crf\.backend='cuda' is none of pydensecrf, torch, auto"):
        DenseCRF(crf={"backend": "cuda"})


def everything(unary: torch.Tensor, terms: Pairwise, iterations: int) -> torch.Tensor:
    """Marginals (N, K) of the mean field with messages for all labels."""
    negative = -unary.flatten(1).t()
    state = negative.softmax(1)
    for _ in range(iterations):
        state = (negative + terms.messages(state)).softmax(1)
    return state


@pytest.mark.parametrize("classes", [21, 81])
def test_labels_that_cannot_win_are_left_out_and_change_nothing(classes: int) -> None:
    unary, terms = energy(probabilities(classes, confident=26)), pairwise(photograph(), MCC_CRF)
    field = mean_field(unary, terms, 10)
    assert 3 <= len(field.kept) < classes / 2
    full = everything(unary, terms, 10)
    assert torch.equal(field.labels.flatten(), full.argmax(1))
    ours = field.marginals.flatten(1).t()
    torch.testing.assert_close(ours, full, rtol=0, atol=3 * TOLERANCE)
    torch.testing.assert_close(ours.sum(1), torch.ones(len(ours)), rtol=0, atol=1e-4)


def test_no_left_out_label_wins_in_any_iteration_and_the_bound_on_their_mass_holds() -> None:
    unary, terms = energy(probabilities(30, confident=22)), pairwise(photograph(), MCC_CRF)
    kept = can_win(unary, terms.messages, 10)
    lost = [label for label in range(30) if label not in kept.tolist()]
    assert lost
    start = (unary.amin(0) - unary[lost]).exp().sum(0).flatten()
    for iterations in range(5):
        full = everything(unary, terms, iterations)
        assert not torch.isin(full.argmax(1), torch.tensor(lost)).any()
        assert (full[:, lost].sum(1) <= start * (1 + TOLERANCE) + 1e-6).all()


def test_a_weak_label_that_its_neighbours_could_help_is_kept() -> None:
    """Label 2 is nowhere the best, but a third of the mass everywhere: messages might lift it."""
    probability = np.broadcast_to(np.array([0.36, 0.33, 0.31], np.float32)[:, None, None], (3, *SIZE))
    assert can_win(energy(probability.copy()), pairwise(photograph(), MCC_CRF).messages, 10).tolist() == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize("peak", [1e-6, 0.01, 0.2, 0.35, 0.365, 1 / np.e])
def test_growth_is_a_bound_that_holds_itself(peak: float) -> None:
    assert np.exp(_growth(peak) * peak) <= _growth(peak) * (1 + 1e-9)


def test_there_is_no_bound_for_strong_messages() -> None:
    assert _growth(0.37) == np.inf


def test_mean_field_without_iterations_is_the_softmax() -> None:
    unary = energy(probabilities(3, confident=2))
    field = mean_field(unary, pairwise(photograph(), MCC_CRF), 0)
    torch.testing.assert_close(field.marginals, (-unary).softmax(0))


def real_scores(labels: int, number: int, margin: float = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photograph, its mask, and probabilities like those of a network of stride 16, with noise.

    Returns:
        (H, W, 3) uint8; (H, W) uint8 with 255 at borders; (labels, H, W) float32.
    """
    mask_path = sorted((VOC_MINI / "SegmentationClass").glob("*.png"))[number]
    image = np.asarray(Image.open(VOC_MINI / "JPEGImages" / f"{mask_path.stem}.jpg").convert("RGB"))
    truth = np.asarray(Image.open(mask_path))
    size, cells = truth.shape, (truth.shape[0] // 16, truth.shape[1] // 16)
    planes = torch.from_numpy(np.where(truth == 255, 0, truth)[None] == np.arange(labels)[:, None, None])
    generator = torch.Generator().manual_seed(number)
    logits = margin * F.interpolate(planes[None].float(), cells, mode="area")
    logits += torch.randn(logits.shape, generator=generator)
    return image, truth, F.interpolate(logits, size, mode="bilinear")[0].softmax(0).numpy()


@pytest.mark.skipif(not VOC_MINI.is_dir(), reason="no voc-mini beside the checkout (HARNESS_SHARED)")
def test_backends_agree_on_photographs_and_their_miou() -> None:
    counts = {backend: np.zeros((21, 21), np.int64) for backend in ("pydensecrf", "torch")}
    for number in range(3):
        image, truth, probability = real_scores(21, number)
        found = {}
        for backend, count in counts.items():
            parameters = replace(MCC_CRF, backend=backend)
            found[backend] = crf_from_probabilities(image, probability, parameters)[0]
            count += confusion_matrix(truth, found[backend], 21)
        assert (found["torch"] == found["pydensecrf"]).mean() >= 0.998
        assert (found["torch"] != probability.argmax(0)).mean() > 0.01  # the CRF changes something
    miou = {backend: 100 * segmentation_metrics(count).mean_iou for backend, count in counts.items()}
    assert abs(miou["torch"] - miou["pydensecrf"]) < 0.05


@pytest.mark.skipif(not VOC_MINI.is_dir(), reason="no voc-mini beside the checkout (HARNESS_SHARED)")
def test_labels_are_left_out_of_a_photograph_and_change_no_pixel() -> None:
    image, _, probability = real_scores(81, 0, margin=24)
    unary, terms = energy(probability), pairwise(image, MCC_CRF)
    field = mean_field(unary, terms, 10)
    assert 2 <= len(field.kept) < 40
    assert torch.equal(field.labels.flatten(), everything(unary, terms, 10).argmax(1))
