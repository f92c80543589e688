"""The shipped VOC configs train as long and as fast as the released codes do."""

from __future__ import annotations

import pytest

from harness.config import find_config, load_config
from harness.schema import TrainStage
from harness.stages.train import Schedule

TRAIN_AUG = 10_582  # images


@pytest.mark.parametrize(
    ("method", "stage", "iterations", "lr", "momentum"),
    [
        ("cam", "cam", 661 * 5, 0.1, 1e-4),
        ("vwe", "cam", 661 * 6, 0.01, 1e-4),
        ("irn", "irn", 330 * 3, 0.1, 1e-4),
        ("vwe", "seg", 20_000, 1e-3, 0.9),
        ("seam", "cam", 1322 * 8, 0.01, 5e-4),
        ("eps", "cam", 20_000, 0.01, 5e-4),
        ("hsc", "cam", 20_000, 0.01, 5e-4),
        ("seam", "seg", 20_000, 1e-3, 0.9),
        ("eps", "seg", 20_000, 1e-3, 0.9),
        ("hsc", "seg", 20_000, 1e-3, 0.9),
    ],
)
def test_shipped_recipe(method, stage, iterations, lr, momentum):
    config = load_config(find_config(method, "voc")).stages[stage]
    assert isinstance(config, TrainStage)
    schedule = Schedule.of(config.train_cfg, TRAIN_AUG, config.train_dataloader.batch_size, smoke=False)
    assert schedule.iterations == iterations
    optimizer = config.optim_wrapper["optimizer"]
    assert (optimizer["lr"], optimizer["momentum"]) == (lr, momentum)
    assert config.param_scheduler["power"] == 0.9


def train_stage(
    method: str, dataset: str = "voc", stage: str = "cam", variant: str | None = None
) -> TrainStage:
    config = load_config(find_config(method, dataset, variant)).stages[stage]
    assert isinstance(config, TrainStage)
    return config


@pytest.mark.parametrize(
    ("method", "long_side", "crop", "batch", "model"),
    [
        ("seam", [448, 768], 448, 8, {"view_scale": 0.3}),
        ("eps", [256, 512], 448, 8, {"tau": 0.4, "alpha": 0.5}),
        ("hsc", [448, 768], 448, 12, {"tau": 0.5, "alpha": 0.5, "view_size": 128, "background_score": 0.1}),
    ],
)
def test_the_family_on_the_wide_resnet_differs_as_published(method, long_side, crop, batch, model):
    config = train_stage(method)
    assert list(config.transform["long_side"]) == long_side
    assert (config.transform["crop"], config.train_dataloader.batch_size) == (crop, batch)
    assert config.model.items() >= {**model, "backbone": {"type": "ResNet38"}}.items()
    assert config.transform["jitter"] == dict(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    assert config.auxiliary == ([] if method == "seam" else ["saliency"])
    keys = config.optim_wrapper["paramwise_cfg"]["custom_keys"]
    new = {"seam": {"fc8", "correlation"}, "eps": {"fc8"}, "hsc": {"fc8", "correlation", "proj_fc"}}[method]
    assert {name for name, setting in keys.items() if setting["lr_mult"] == 10} == new


def test_hsc_goes_on_after_its_rate_has_decayed():
    config = train_stage("hsc")
    assert config.param_scheduler["max_steps"] == TRAIN_AUG // 12 * 15 == 13_215
    assert config.train_cfg.max_iters == 20_000


@pytest.mark.parametrize(
    ("method", "variant", "seed", "pseudo"),
    [
        ("hsc", None, 0.22, {"type": "CAMThreshold", "background": 0.22}),
        ("eps", None, 0.20, {"type": "CAMThreshold", "background": 0.20}),
        ("seam", None, 0.26, {"type": "AffinityRandomWalk", "beta": 8, "exp_times": 6, "alpha": 6}),
        ("hsc", "crf", 0.22, {"type": "CAMAlphaCRF", "alpha": 7}),
    ],
)
def test_thresholds_are_the_published_ones(method, variant, seed, pseudo):
    stages = load_config(find_config(method, "voc", variant)).stages
    assert stages["seeds"].threshold == seed
    assert stages["pseudo"].refiner.items() >= pseudo.items()
    assert stages["cam_scores"].inference["normalisation" if method == "seam" else "flip_fusion"] == (
        "min_max" if method == "seam" else "sum"
    )


def test_eps_on_coco_is_the_published_recipe_and_hsc_there_is_called_unofficial():
    for method in ("eps", "hsc"):
        config = train_stage(method, "coco")
        assert (config.model["num_classes"], config.model["tau"], config.model["alpha"]) == (80, 0.4, 0.9)
        assert (list(config.transform["long_side"]), config.transform["crop"]) == ([256, 448], 321)
        assert (config.train_dataloader.batch_size, config.train_cfg.max_iters) == (16, 256_500)
        stages = load_config(find_config(method, "coco")).stages
        assert stages["seeds"].threshold == stages["pseudo"].refiner["background"] == 0.20
        seg = stages["seg"]
        assert seg.param_scheduler["end"] == seg.train_cfg.max_iters + 2
    assert "unofficial" in load_config(find_config("hsc", "coco")).title


def test_on_shapes_the_family_starts_from_one_network_that_runs_can_share():
    starts = [
        load_config(find_config(method, "shapes")).stages["pretrain"] for method in ("seam", "eps", "hsc")
    ]
    assert starts[0] == starts[1] == starts[2]
    for method in ("seam", "eps", "hsc"):
        assert train_stage(method, "shapes").init.stage == "pretrain"
    lengths = {train_stage(method, "shapes").train_cfg.max_epochs for method in ("seam", "eps", "hsc")}
    assert len(lengths) == 1


@pytest.mark.parametrize(
    ("dataset", "variant", "lr", "decay", "fusion"),
    [
        ("voc", None, 6e-4, 0.03, (8, "max")),
        ("coco", None, 2e-4, 0.03, (8, "max")),
        ("coco", "2023", 5e-4, 0.05, (4, "avg")),
    ],
)
def test_weaktrs_rates_are_those_of_512_images(dataset, variant, lr, decay, fusion):
    config = train_stage("weaktr", dataset, variant=variant)
    optimizer = config.optim_wrapper["optimizer"]
    assert optimizer["lr"] == pytest.approx(lr * config.train_dataloader.batch_size / 512)
    assert optimizer["weight_decay"] == decay
    assert (config.model["reduction"], config.model["pooling"]) == fusion
    assert config.validation is not None
    assert config.validation.best == "cam"


def test_weaktr_trains_sixty_and_a_hundred_epochs():
    cam, seg = train_stage("weaktr"), train_stage("weaktr", stage="seg")
    schedules = [
        Schedule.of(stage.train_cfg, TRAIN_AUG, stage.train_dataloader.batch_size, smoke=False)
        for stage in (cam, seg)
    ]
    assert [schedule.iterations for schedule in schedules] == [165 * 60, 2645 * 100]
    assert cam.param_scheduler["epochs"] == cam.train_cfg.max_epochs
