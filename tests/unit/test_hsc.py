"""HSC: its contrastive terms against loops that follow the paper's text, its CRFs, its switches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.eps.losses import saliency_loss
from methods.hsc import contrast
from methods.hsc.label_crf import exact_crf, lattice_crf
from methods.hsc.model import HSC

CLASSES, SIZE, WIDTH = 5, 8, 6  # foreground classes, side of the maps, channels
BACKGROUND = CLASSES
Pair = tuple[Tensor, Tensor]


def pair(seed: int, *shape: int) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(shape, generator=generator) for _ in range(2))
    return first, second


def labels(n: int = 3) -> Tensor:
    """(n, K) multi-hot with background, where the second class is nowhere."""
    found = (torch.rand(n, CLASSES, generator=torch.Generator().manual_seed(5)) > 0.5).float()
    found[:, 1], found[0, 0], found[:, 3] = 0, 1, 1
    return torch.cat([found, torch.ones(n, 1)], dim=1)


def pseudo(seed: int, n: int = 3) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randint(0, CLASSES + 1, (n, SIZE, SIZE), generator=generator) for _ in range(2))
    return first, second


def gradients(loss: Tensor, leaves: Pair) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


def class_by_class(
    features: Pair, cams: Pair, present: Tensor, banks: Pair, top_loss: int, top_update: int
) -> tuple[Tensor, Pair]:
    """Section 5.6 of the spec as it is written: one class after the other, prototypes updated in between."""
    banks = banks[0].clone(), banks[1].clone()
    own = mutual = torch.zeros(())
    classes = [c for c in range(CLASSES) if present[:, c].any()]
    for c in classes:
        means = []
        updates = []
        for view in (0, 1):
            scores = (cams[view] * present[:, :, None, None]).softmax(1)[:, c].flatten()
            vectors = features[view].permute(0, 2, 3, 1).reshape(-1, features[view].shape[1])
            order = torch.argsort(scores, descending=True, stable=True)[:top_loss]
            w, x = scores[order, None], vectors[order]
            means.append(F.normalize(((w * x).sum(0) / w.sum())[None])[0])
            updates.append(F.normalize((w * x)[:top_update].sum(0)[None])[0].detach())

        def nce(r: Tensor, bank: Tensor, c: int = c) -> Tensor:
            logits = F.cosine_similarity(r[None], bank) / 0.1
            return -logits.log_softmax(0)[c]

        before = banks[0].clone(), banks[1].clone()
        own = own + nce(means[0], before[0]) + nce(means[1], before[1])
        mutual = mutual + nce(means[0], before[1]) + nce(means[1], before[0])
        for view in (0, 1):
            banks[view][c] = 0.5 * updates[view] + 0.5 * banks[view][c]
    return 0.1 * (own + mutual) / (len(classes) * 4), banks


def test_the_class_term_is_that_of_a_loop_over_classes() -> None:
    features = tuple(maps.requires_grad_() for maps in pair(0, 3, WIDTH, SIZE, SIZE))
    cams, banks, present = (
        pair(1, 3, CLASSES + 1, SIZE, SIZE),
        pair(2, CLASSES + 1, WIDTH),
        labels(),
    )
    term = contrast.class_contrast(features, cams, present, banks, top_loss=20, top_update=4)
    loss, updated = class_by_class(features, cams, present, banks, 20, 4)
    torch.testing.assert_close(term.loss, loss)
    for ours, theirs in zip(term.banks, updated, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(gradients(term.loss, features), gradients(loss, features), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_prototypes_of_absent_classes_and_of_the_background_stay() -> None:
    banks = pair(2, CLASSES + 1, WIDTH)
    features, cams = pair(0, 3, WIDTH, SIZE, SIZE), pair(1, 3, CLASSES + 1, SIZE, SIZE)
    term = contrast.class_contrast(features, cams, labels(), banks, top_loss=20, top_update=4)
    for new, old in zip(term.banks, banks, strict=True):
        kept = (new == old).all(1)
        assert kept[[1, BACKGROUND]].all()
        assert not kept[[0, 3]].any()


def test_a_batch_without_classes_has_no_class_term() -> None:
    present = torch.zeros(3, CLASSES + 1)
    present[:, -1] = 1
    features, cams = pair(0, 3, WIDTH, SIZE, SIZE), pair(1, 3, CLASSES + 1, SIZE, SIZE)
    term = contrast.class_contrast(features, cams, present, pair(2, CLASSES + 1, WIDTH))
    assert float(term.loss) == 0


def pixel_by_pixel(features: Pair, cams: Pair, marked: Pair, banks: Pair) -> tuple[Tensor, Pair]:
    """Section 5.7 of the spec as it is written, a loop over classes and one over pixels."""
    count = SIZE * SIZE // 16
    prototypes: list[Tensor] = []
    for maps, cam in zip(features, cams, strict=True):
        vectors = maps.detach().permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        rows = []
        for c in range(CLASSES + 1):
            values = cam[:, c].flatten()
            order = torch.argsort(values, descending=True, stable=True)[:count]
            w = values[order, None]
            rows.append(F.normalize(((w * vectors[order]).sum(0) / w.sum())[None])[0])
        prototypes.append(torch.stack(rows))

    def information(view: int, targets: Tensor, table: Tensor) -> Tensor:
        maps, total = features[view], torch.zeros(())
        for image in range(maps.shape[0]):
            for row in range(SIZE):
                for column in range(SIZE):
                    z = F.normalize(maps[image, :, row, column][None])[0]
                    exponents = (table @ z / 0.1).exp()
                    total = total - (exponents[targets[image, row, column]] / exponents.sum()).log()
        return total / (maps.shape[0] * SIZE * SIZE)

    (q1, q2), (l1, l2), (past1, past2) = prototypes, marked, banks
    parts = [
        (information(0, l1, q2), information(1, l2, q1)),
        (information(0, l2, q1), information(1, l1, q2)),
        (information(0, l1, q1), information(1, l2, q2)),
        (information(0, l1, past1), information(1, l2, past2)),
    ]
    loss = sum(0.1 * (first + second) / 2 for first, second in parts)
    return loss, (0.5 * q1 + 0.5 * past1, 0.5 * q2 + 0.5 * past2)


def test_the_pixel_term_is_that_of_a_loop_over_pixels() -> None:
    features = tuple(maps.abs().requires_grad_() for maps in pair(0, 2, WIDTH, SIZE, SIZE))
    cams, marked, banks = (
        pair(1, 2, CLASSES + 1, SIZE, SIZE),
        pseudo(3, 2),
        pair(2, CLASSES + 1, WIDTH),
    )
    term = contrast.pixel_contrast(features, cams, marked, banks)
    loss, updated = pixel_by_pixel(features, cams, marked, banks)
    torch.testing.assert_close(term.loss, loss, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(term.banks, updated, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(gradients(term.loss, features), gradients(loss, features), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_masked_background_prototype_is_the_mean_of_the_pixels_labelled_background() -> None:
    features = tuple(maps.abs() for maps in pair(0, 2, WIDTH, SIZE, SIZE))
    cams, marked, banks = (
        pair(1, 2, CLASSES + 1, SIZE, SIZE),
        pseudo(3, 2),
        pair(2, CLASSES + 1, WIDTH),
    )
    ties, masked = (
        contrast.pixel_contrast(features, cams, marked, banks, ema=0, masked_background=chosen).banks
        for chosen in (False, True)
    )
    for view in (0, 1):
        behind = features[view].permute(0, 2, 3, 1)[marked[view] == BACKGROUND]
        torch.testing.assert_close(masked[view][BACKGROUND], F.normalize(behind.mean(0), dim=0))
        assert torch.equal(masked[view][:BACKGROUND], ties[view][:BACKGROUND])
    nowhere = tuple(torch.zeros_like(label) for label in marked)
    without = contrast.pixel_contrast(features, cams, nowhere, banks, ema=0, masked_background=True).banks
    assert all(torch.equal(rows, kept) for rows, kept in zip(without, ties, strict=True))


def test_tied_scores_choose_the_first_pixels() -> None:
    assert contrast.top_positions(torch.full((2, 9), 0.1), 3).tolist() == [[0, 1, 2]] * 2
    assert contrast.top_positions(torch.tensor([[1.0, 3, 2, 3]]), 3).tolist() == [[1, 3, 2]]


@pytest.mark.parametrize("dimension", [1, 3])
def test_regions_are_normalised_along_the_width_or_over_channels(dimension: int) -> None:
    features, marked, banks = pair(0, 2, WIDTH, SIZE, SIZE), pseudo(3, 2), pair(4, 2, WIDTH)
    term = contrast.roi_contrast(features, marked, banks, background=BACKGROUND, norm_dim=dimension)
    scaled = tuple(F.normalize(maps, dim=dimension) for maps in features)
    for bank, maps, label, old in zip(term.banks, scaled, marked, banks, strict=True):
        behind = (label == BACKGROUND).float()[:, None]
        pooled = F.normalize((maps * behind).sum((2, 3)) / (behind.sum((2, 3)) + 1e-5), eps=1e-5)
        torch.testing.assert_close(bank[0], 0.5 * pooled.mean(0) + 0.5 * old[0])


def test_a_background_score_above_all_cams_leaves_only_background() -> None:
    refined = torch.rand(2, CLASSES + 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    present = labels(2)
    few = contrast.pseudo_labels(contrast.normalise_cam(refined, 0.1), present)
    none = contrast.pseudo_labels(contrast.normalise_cam(refined, 1.1), present)
    assert (few != BACKGROUND).any()
    assert (none == BACKGROUND).all()
    assert set(few.unique().tolist()) <= set(present.amax(0).nonzero().flatten().tolist())


def smooth_images(n: int, size: int) -> Tensor:
    coarse = torch.randn(n, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=(size, size), mode="bilinear") * 1.2


def test_the_exact_crf_agrees_with_the_lattice() -> None:
    images = smooth_images(4, 16)
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(8, 21, 4, 4, generator=generator)
    proposed = F.interpolate(scores, size=(16, 16), mode="bilinear").argmax(1).view(2, 4, 16, 16)
    specks = torch.rand(proposed.shape, generator=generator) < 0.1
    proposed[specks] = torch.randint(0, 21, (int(specks.sum()),), generator=generator)
    lattice, exact = (crf(images, proposed, 21)() for crf in (lattice_crf, exact_crf))
    assert lattice.shape == exact.shape == proposed.shape
    assert (lattice != proposed).float().mean() > 0.01
    assert (lattice == exact).float().mean() > 0.99


def network(**settings: Any) -> HSC:
    torch.manual_seed(0)
    settings = {"view_size": 32, "top_loss": 8, "top_update": 2, "label_crf": "exact", **settings}
    model = HSC(
        3,
        {"type": "ResNet38", "base_channels": 2},
        pixel_channels=WIDTH,
        region_channels=WIDTH,
        **settings,
    )
    return model.eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 3, 64, 64, generator=generator),
        torch.rand(2, 1, 64, 64, generator=generator),
        torch.tensor([[1.0, 0, 0], [1, 1, 0]]),
    )


def test_the_saliency_loss_of_refined_cams_can_be_left_out() -> None:
    image, saliency, present = batch()
    with_both = network().loss(image, saliency, present)
    without = network(sal_on_refined=False).loss(image, saliency, present)
    model = network()
    expected = torch.zeros(())
    for size in (64, 32):
        view, target = (
            F.interpolate(x, (size, size), mode="bilinear", align_corners=True) for x in (image, saliency)
        )
        expected = expected + saliency_loss(model.maps(view).cam, target, present, tau=0.5, alpha=0.5).loss
    torch.testing.assert_close(without["loss_sal"], expected / 2)
    assert with_both["loss_sal"] > without["loss_sal"]
    assert all(torch.equal(with_both[name], without[name]) for name in with_both if name != "loss_sal")


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ({"ecr_bg_first_quirk": False}, {"loss_ecr"}),
        ({"roi_norm_dim": 1}, {"loss_rsc"}),
        ({"background_score": 1.5}, {"loss_rsc", "loss_csc", "loss_psc"}),
        ({"tau": 0.0, "alpha": 0.9}, {"loss_sal"}),
        ({"top_loss": 4}, {"loss_csc"}),
        ({"psc_bg_prototype": "masked"}, {"loss_psc"}),
        ({"bank_init": "zeros"}, {"loss_rsc", "loss_csc", "loss_psc"}),
    ],
)
def test_a_switch_changes_its_terms_only(setting: dict[str, Any], changed: set[str]) -> None:
    released, other = (network(**chosen).loss(*batch()) for chosen in ({}, setting))
    assert {name for name in released if not torch.equal(released[name], other[name])} == changed


def test_the_quirk_of_ecr_is_which_channel_does_not_compete() -> None:
    assert network().ecr_passing == 0
    assert network(ecr_bg_first_quirk=False).ecr_passing == 3  # the background


def test_banks_are_kept_with_the_network_and_move_with_every_step() -> None:
    model = network()
    names = [name for name, _ in model.banks()]
    assert names == [f"bank_{level}_{view}" for level in ("regions", "classes", "pixels") for view in (1, 2)]
    assert set(names) <= set(model.state_dict())
    before = {name: bank.clone() for name, bank in model.banks()}
    model.loss(*batch())
    assert all(not torch.equal(bank, before[name]) for name, bank in model.banks())


def test_the_norm_of_the_region_head_stays_what_it_was_built_as() -> None:
    model = network().train()
    model.loss(*batch())
    norm = model.extra_F[1]
    assert not norm.training
    assert not any(p.requires_grad for p in norm.parameters())
    assert torch.equal(norm.running_mean, torch.zeros(WIDTH))


def test_losses_stay_in_single_precision_where_the_network_does_not() -> None:
    plain = network().loss(*batch())
    with torch.autocast("cpu", torch.bfloat16):
        half = network().loss(*batch())
    assert {name for name in plain if not torch.equal(plain[name], half[name])} >= {"loss_cls", "loss_sal"}
    for name, value in half.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, plain[name], rtol=0.1, atol=0.02)
