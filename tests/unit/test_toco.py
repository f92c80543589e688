"""ToCo: labels, losses, crops, schedule, its switches, and a training that is resumed."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import Tensor

from harness.ops.pixel_adaptive import PixelAdaptive
from harness.schedules import WarmupPolyLR
from methods.modules.refined_labels import Thresholds, refined_labels
from methods.toco import crops
from methods.toco.heads import Projector, follow
from methods.toco.labels import affinity_labels, interest, seed_labels
from methods.toco.losses import affinity_loss, balanced_cross_entropy, pair_labels, token_contrast
from methods.toco.model import ToCo
from methods.toco.network import HEADS, WEIGHT_NORM, Batch, convert_authors

SIDE, CLASSES = 64, 3
TINY: dict[str, Any] = {
    "backbone": {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 8, "image_size": SIDE},
    "decoder": {"channels": 8, "dilation": 1},
    "projector": {"channels": 16, "bottleneck": 8, "out_channels": 16},
    "scales": (1.0, 0.5),
    "phases": {"contrast": 0, "seg": 0},
    "local_views": 4,
}
TINY["backbone"]["auxiliary_block"] = 0


def network(**settings: Any) -> ToCo:
    torch.manual_seed(0)
    model = ToCo(CLASSES, **{**TINY, "crop_size": 32, **settings})
    # Class maps of a network that knows nothing would be all background or all foreground.
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    torch.nn.init.normal_(model.aux_classifier.weight, std=1.0)
    return model


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(3, 2, 3, 8, 8, generator=generator)
    views = [F.interpolate(view, (SIDE, SIDE), mode="bilinear") for view in coarse]
    content = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    content[:, :, :48] = True
    return Batch(*views, content, torch.tensor([[1.0, 0, 0], [1, 1, 0]]))


def losses(model: ToCo) -> dict[str, Tensor]:
    torch.manual_seed(7)
    return {name: value for name, value in model.loss(batch()).items() if name.startswith("loss_")}


@pytest.mark.parametrize(("steps", "warned"), [(30, ["phases.seg=40"]), (41, [])])
def test_a_training_that_ends_before_a_phase_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, steps: int, warned: list[str]
) -> None:
    hub = MessageHub.get_current_instance()
    monkeypatch.setitem(hub.runtime_info, "max_iters", steps)
    model = network(phases={"contrast": 0, "seg": 40, "main_views": None})
    model.loss(batch())
    model.loss(batch())
    assert [text for text in warned if text in caplog.text] == warned
    assert len(caplog.records) == len(warned)


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ({"mcc_extra_term": False}, {"loss_contrast"}),
        ({"temperature": 1.0}, {"loss_contrast"}),
        ({"momentum": 0.5}, {"loss_contrast"}),
        ({"scale_box_for_affinity": True}, {"loss_affinity"}),
        ({"images_per_process": 1}, {"loss_affinity", "loss_seg"}),
        ({"reg_kernel": "exact_scaled"}, {"loss_reg"}),
        ({"released_reg_gradient": False}, set()),
        ({"weights": {"contrast": 1.0}}, {"loss_contrast"}),
        ({"phases": {"seg": 1}}, {"loss_seg", "loss_reg"}),
        ({"phases": {"seg": 0, "contrast": 1}}, {"loss_affinity", "loss_contrast"}),
        ({"phases": {"seg": 0, "main_labels": 1}}, {"loss_seg", "loss_reg"}),
        ({"phases": {"seg": 0, "main_views": 0}}, {"loss_contrast"}),
    ],
    ids=str,
)
def test_a_switch_changes_its_terms_only(setting: dict[str, Any], changed: set[str]) -> None:
    # The student moves, so that the teacher's momentum shows.
    released, other = (_moved(network(**chosen)) for chosen in ({}, setting))
    first, second = losses(released), losses(other)
    assert {n for n in first if not torch.allclose(first[n], second[n], rtol=1e-6, atol=1e-9)} == changed


def _moved(model: ToCo) -> ToCo:
    with torch.no_grad():
        for parameter in model.projector.mlp.parameters():
            parameter.add_(0.3)
    return model


def test_the_true_gradient_of_the_energy_is_another_one() -> None:
    released, true = (network(released_reg_gradient=kind) for kind in (True, False))
    for model in (released, true):
        losses(model)["loss_reg"].backward()
    first, second = (model.decoder.conv8.weight.grad for model in (released, true))
    assert first.abs().max() > 0
    assert not torch.allclose(first, second, rtol=1e-2, atol=0)


def test_the_decoder_gets_gradients_of_zero_while_it_warms_up() -> None:
    model = network(phases={"contrast": 5, "seg": 5})
    found = losses(model)
    sum(found.values()).backward()
    assert found["loss_seg"] == found["loss_reg"] == found["loss_contrast"] == 0
    for part in (model.decoder, model.projector.mlp):
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert not parameter.grad.any()
    assert model.classifier.weight.grad.any()


def test_only_what_is_meant_to_learn_gets_a_gradient() -> None:
    model = network()
    sum(losses(model).values()).backward()
    resting = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    gain = "last_layer.parametrizations.weight.original0"
    teacher = {f"teacher.{name}" for name, _ in model.teacher.named_parameters()}
    assert resting == {"backbone.pos_embed", f"projector.{gain}", *teacher}


def steps(model: ToCo, optimizer: torch.optim.Optimizer, count: int) -> list[float]:
    totals = []
    for _ in range(count):
        total = sum(value for name, value in model.loss(batch()).items() if name.startswith("loss_"))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    return totals


def optimizer_of(model: ToCo) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)


def test_a_resumed_training_goes_on_where_the_teacher_and_the_phases_stood() -> None:
    settings = {"phases": {"contrast": 0, "seg": 2, "main_labels": 3}}
    model = network(**settings)
    optimizer = optimizer_of(model)
    torch.manual_seed(3)
    steps(model, optimizer, 2)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), torch.get_rng_state()], file)
    undisturbed = steps(model, optimizer, 2)

    file.seek(0)
    state, of_optimizer, random = torch.load(file)
    resumed = network(**settings)
    steps(resumed, optimizer_of(resumed), 1)  # it has counted steps of its own
    resumed.load_state_dict(state)
    optimizer = optimizer_of(resumed)
    optimizer.load_state_dict(of_optimizer)
    torch.set_rng_state(random)
    assert steps(resumed, optimizer, 2) == undisturbed
    assert int(resumed.iteration) == 4


def test_the_teacher_starts_as_the_student_and_follows_it() -> None:
    torch.manual_seed(0)
    student, teacher = Projector(4, 8, 4, 6), Projector(4, 8, 4, 6)
    teacher.load_state_dict(student.state_dict())
    before = student.mlp[0].weight.detach().clone()
    student.mlp[0].weight.data += 1
    follow(teacher, student, 0.9)
    torch.testing.assert_close(teacher.mlp[0].weight, before + 0.1)
    lengths = student.last_layer.weight.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(6))


def test_the_contrast_is_that_of_a_loop_over_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (0.5 * torch.randn(rows, 2, 5, generator=generator) for rows in (6, 2))
    positive = torch.tensor([[1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1]]) > 0
    for extra in (True, False):
        total = torch.zeros(())
        for image, chosen in enumerate(positive):
            for row in teacher[:, image]:
                scores = (student[:, image] @ row / 0.5).exp()
                negative = scores[~chosen].sum()
                for score in scores[chosen]:
                    total += -(score / (score + negative + 1e-4)).log() / 2 / (chosen.sum() + 1e-4)
                if extra:
                    total += -(1 / (1 + negative + 1e-4)).log() / 2 / (chosen.sum() + 1e-4)
        found = token_contrast(student, teacher, positive, temperature=0.5, extra_term=extra)
        torch.testing.assert_close(found, total / 2)


def test_labels_that_are_all_undecided_leave_half_a_loss_and_no_gradient() -> None:
    features = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = affinity_loss(features, pair_labels(torch.full((1, 3, 3), 255)))
    loss.backward()
    assert float(loss.detach()) == 0.5
    assert not features.grad.any()


def test_a_side_without_pixels_counts_nothing_and_is_reported() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    background = torch.zeros(1, 4, 4, dtype=torch.long)
    found = balanced_cross_entropy(logits, background)
    assert int(found.empty) == 1
    torch.testing.assert_close(found.loss, F.cross_entropy(logits, background) / 2)
    nothing = balanced_cross_entropy(logits, torch.full_like(background, 255))
    assert (int(nothing.empty), float(nothing.loss)) == (2, 0.0)


def ramp() -> tuple[Tensor, Tensor]:
    """Class maps (1, 2, 4, 8) whose second class rises from 0 to 0.875, and everything inside."""
    valid = torch.zeros(1, 2, 4, 8)
    valid[:, 1] = torch.arange(8) / 8
    return valid, torch.ones(1, 4, 8, dtype=torch.bool)


def test_a_value_at_a_threshold_goes_to_the_lower_side_in_labels_and_to_the_upper_one_in_regions() -> None:
    valid, content = ramp()
    levels = Thresholds(low=0.25, high=0.75)
    assert seed_labels(valid, content, levels)[0, 0].tolist() == [0, 0, 0, 255, 255, 255, 255, 2]
    assert interest(valid, levels)[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    content[:, :, 0] = False
    assert seed_labels(valid, content, levels)[0, :, 0].tolist() == [255] * 4


def test_the_box_of_the_affinity_labels_is_in_pixels_as_released_or_on_the_grid() -> None:
    valid, content = torch.ones(1, 1, 16, 16), torch.zeros(1, 16, 16, dtype=torch.bool)
    content[:, 8:] = True  # the image begins behind the grid's last row
    released = affinity_labels(valid, content, (4, 4), Thresholds())
    scaled = affinity_labels(valid, content, (4, 4), Thresholds(), scale_box=True)
    assert (released == 255).all()
    assert scaled[0, :, 0].tolist() == [255, 255, 1, 1]


def test_refined_labels_take_images_with_different_numbers_of_classes_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    image = F.interpolate(torch.rand(3, 3, 4, 4, generator=generator), (24, 24), mode="bilinear")
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]])
    valid = F.interpolate(torch.rand(3, 3, 4, 4, generator=generator), (24, 24)) * labels[..., None, None]
    content, levels = torch.ones(3, 24, 24, dtype=torch.bool), Thresholds(high=0.5)
    refine = PixelAdaptive("par", iterations=2, dilations=(1, 2))
    together = refined_labels(image, valid, labels, content, levels, refine)
    alone = [
        refined_labels(image[i : i + 1], valid[i : i + 1], labels[i : i + 1], content[:1], levels, refine)
        for i in range(3)
    ]
    assert torch.equal(together, torch.cat(alone))
    assert set(together[0].unique().tolist()) <= {0, 1, 3, 255}
    assert not together[1].any()  # no class: background everywhere
    assert {0, 255} <= set(together.unique().tolist())


def test_crops_stay_in_the_image_and_around_what_is_not_certain() -> None:
    region = torch.full((2, 40, 50), 2, dtype=torch.uint8)
    region[0, 10:20, 10:40] = 1
    corners = crops.crop_corners(region, 5, 16, lambda count: torch.arange(count).flip(0))
    assert corners.shape == (2, 5, 2)
    centres = corners[0] + 8
    assert all(region[0, row, column] == 1 for row, column in centres.tolist())
    assert (corners >= 0).all()
    assert (corners[1] + 16 <= torch.tensor([40, 50])).all()  # nothing is uncertain: anywhere
    views = crops.cut(region, corners, 16)
    assert views.shape == (5, 2, 16, 16)
    assert crops.positives(views)[1].all()
    assert not crops.positives(torch.zeros(5, 2, 16, 16)).any()


def test_the_rate_drops_when_the_warm_up_ends() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.AdamW([parameter], lr=1.0))
    schedule = WarmupPolyLR(wrapper, max_steps=20, warmup=10, ratio=0.1, power=1.0, by_epoch=False)
    rates = []
    for _ in range(22):
        rates.append(wrapper.param_groups[0]["lr"])
        wrapper.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(0.91)
    assert rates[10] == pytest.approx(0.5)
    assert rates[19] == rates[21] == pytest.approx(0.05)


def released_state(classes: int) -> dict[str, Tensor]:
    """The layout of a released checkpoint, for a narrower transformer."""
    with torch.device("meta"):
        width = {"embed_dim": 64, "depth": 2, "num_heads": 1, "auxiliary_block": 0}
        model = ToCo(classes, width)
    old_prefix = {ours: theirs for theirs, ours in HEADS.items()} | {"backbone": "encoder"}
    state = {}
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        for old, new in WEIGHT_NORM.items():
            rest = rest.replace(new, old)
        if name != "iteration":
            state[f"module.{old_prefix[part]}.{rest}"] = tensor
    head = {"weight": torch.empty(1000, 64), "bias": torch.empty(1000)}
    return state | {f"module.encoder.head.{name}": tensor for name, tensor in head.items()}


@pytest.mark.parametrize("classes", [20, 80])
def test_a_released_checkpoint_is_accounted_for(classes: int) -> None:
    state = released_state(classes)
    conversion = convert_authors(state)
    assert conversion.complete
    assert len(conversion.state) + len(conversion.dropped) == len(state)
    assert "projector.last_layer.parametrizations.weight.original1" in conversion.state
    state["module.extra"] = state.pop("module.decoder.conv8.weight")
    broken = convert_authors(state)
    assert (broken.unmapped, broken.missing) == (["extra"], ["decoder.conv8.weight"])
