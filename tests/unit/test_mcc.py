"""MCC: key masks, their views, and the passes that a training step saves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.straightforward_mcc import StraightforwardMCC
from harness.config import find_config, load_config
from harness.errors import InputError
from harness.schema import TrainStage
from methods.mcc import masks
from methods.mcc.model import MCC
from tests.unit.test_toco import CLASSES, SIDE, TINY, batch

GRID = (SIDE // 8, SIDE // 8)


def network(kind: type[MCC] = MCC, **settings: Any) -> MCC:
    torch.manual_seed(0)
    model = kind(CLASSES, **{**TINY, "mask_scale": 2, "mask_rate": 0.8, **settings})
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    torch.nn.init.normal_(model.aux_classifier.weight, std=1.0)
    return model.double()


def step(model: MCC) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of a step in double precision, with the same masks for the same seed."""
    torch.manual_seed(5)
    given = batch()
    views = [view.double() for view in (given.image, given.second, given.local)]
    losses = model.loss(given._replace(image=views[0], second=views[1], local=views[2]))
    sum(value for name, value in losses.items() if name.startswith("loss_")).backward()
    return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_a_step_that_saves_passes_has_the_losses_and_gradients_of_the_straightforward_one() -> None:
    (ours, gradients), (theirs, expected) = (step(network(kind)) for kind in (MCC, StraightforwardMCC))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-12)
    assert set(gradients) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-6, atol=1e-10)


def test_a_step_passes_the_large_views_less_often() -> None:
    seen: dict[str, int] = {}
    for kind in (MCC, StraightforwardMCC):
        model = network(kind)
        sizes: list[int] = []
        model.backbone.blocks[0].register_forward_hook(
            lambda module, given, output, sizes=sizes: sizes.append(output.shape[0] * output.shape[1])
        )
        step(model)
        seen[kind.__name__] = sum(sizes)
    assert seen["StraightforwardMCC"] > 2 * seen["MCC"]


def test_masks_hide_whole_blocks_at_the_rate() -> None:
    torch.manual_seed(0)
    hidden = masks.draw_masks(50, 8, (8, 12), scale=4, rate=0.75)
    assert hidden.shape == (8, 50, 8, 12)
    blocks = hidden.unflatten(-2, (2, 4)).unflatten(-1, (3, 4)).transpose(-3, -2)
    assert (blocks == blocks[..., :1, :1]).all()
    assert float(hidden.float().mean()) == pytest.approx(0.75, abs=0.03)


def test_processes_draw_the_same_masks_unless_each_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(rank: int, per_rank: bool) -> Tensor:
        monkeypatch.setattr(masks, "get_dist_info", lambda: (rank, 2))
        torch.manual_seed(0)
        return masks.draw_masks(2, 4, (8, 8), scale=2, rate=0.5, per_rank=per_rank)

    assert torch.equal(drawn(0, False), drawn(1, False))
    assert not torch.equal(drawn(0, True), drawn(1, True))
    first, second = (_of_rank(monkeypatch, rank, network(seed_per_rank=True), network()) for rank in (0, 1))
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def _of_rank(monkeypatch: pytest.MonkeyPatch, rank: int, *models: MCC) -> list[Tensor]:
    """The masks that networks draw in a process, all from the same seed."""
    monkeypatch.setattr(masks, "get_dist_info", lambda: (rank, 2))
    found = []
    for model in models:
        torch.manual_seed(0)
        found.append(model.draw(batch().image, GRID))
    return found


def test_a_grid_that_blocks_do_not_fill_is_refused() -> None:
    with pytest.raises(InputError, match=r"mask_scale"):
        masks.draw_masks(1, 8, (10, 12), scale=4, rate=0.5)


def test_a_view_is_positive_by_what_is_visible_and_negative_without_anything() -> None:
    region = torch.zeros(1, 4, 4, dtype=torch.uint8)
    region[0, 0, 0], region[0, 1] = 2, 1
    hidden = torch.ones(4, 1, 4, 4, dtype=torch.bool)
    hidden[0, 0, 0, 0] = False  # certain: 2 of 1 token
    hidden[1, 0, 1, 0] = hidden[1, 0, 2] = False  # uncertain: 1 of 5 tokens, which is not more than 0.2
    hidden[2, 0, 1, 0] = hidden[2, 0, 2, :3] = False  # 1 of 4 tokens
    assert masks.positives(region, hidden).tolist() == [[True, False, True, False]]


def test_views_are_judged_by_the_main_maps_when_their_phase_begins() -> None:
    model = network(phases={"contrast": 0, "seg": 9, "main_views": 1})
    sources: list[Tensor] = []
    judge = model.local_tokens
    model.local_tokens = lambda batch, maps, grid: (sources.append(maps), judge(batch, maps, grid))[1]
    maps: list[Tensor] = []
    find = model.class_maps
    model.class_maps = lambda *given, **named: (maps.append(find(*given, **named)), maps[-1])[1]
    for _ in range(2):
        step(model)
    assert torch.equal(sources[0], maps[0][1])
    assert torch.equal(sources[1], maps[1][0])


@pytest.mark.parametrize(
    ("method", "dataset", "phases", "high", "temperature", "images"),
    [
        ("mcc", "voc", (0, 2001, 0, 12001), 0.7, 0.5, 4),
        ("mcc", "coco", (0, 8001, 12001, None), 0.65, 0.5, 8),
        ("toco", "voc", (0, 2001, 0, None), 0.7, 0.5, 4),
        ("toco", "coco", (12001, 8001, 12001, None), 0.65, 1.0, 8),
    ],
)
def test_the_configs_are_the_published_recipes(
    method: str,
    dataset: str,
    phases: tuple[int | None, ...],
    high: float,
    temperature: float,
    images: int,
) -> None:
    stage = load_config(find_config(method, dataset)).stages["cam"]
    assert isinstance(stage, TrainStage)
    model = stage.model
    assert tuple(model["phases"][name] for name in ("contrast", "seg", "main_labels", "main_views")) == phases
    assert model["thresholds"] == {"low": 0.25, "high": high}
    assert model["temperature"] == temperature
    assert model["scales"] == [1.0, 0.5, 1.5]
    assert stage.train_dataloader.batch_size == images
    iterations = 20000 if dataset == "voc" else 80000
    assert stage.train_cfg.max_iters == stage.param_scheduler["max_steps"] == iterations
    optimizer = stage.optim_wrapper["optimizer"]
    assert (optimizer["lr"], optimizer["weight_decay"]) == (6e-5, 0.01)
    assert model["images_per_process"] == (1 if method == "mcc" else 2)
    assert model.get("mask_rate", 0.95) == 0.95
