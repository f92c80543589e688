"""The train stage: lengths, resumption to the bit, initial values, and losses that are no numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.artifact import Artifact
from harness.errors import InputError
from harness.schema import TrainConfig
from harness.stages import train_hooks
from harness.stages.train import Schedule
from tests.tiny_stages import TRAIN, TinyNet, run, same, weights_of

Kill = Callable[[int], None]


def merged(**changes: Any) -> dict[str, Any]:
    """The tiny training with some sections changed."""
    config = dict(TRAIN)
    for section, values in changes.items():
        config[section] = {**config[section], **values} if isinstance(config.get(section), dict) else values
    return config


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Let a training end, as if it was killed, right after an iteration and what is saved in it."""

    def kill_after(iteration: int) -> None:
        original = train_hooks.ResumePoints.after_train_iter

        def then_die(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
            original(self, runner, *arguments, **named)
            if runner.iter + 1 == iteration:
                raise KeyboardInterrupt

        monkeypatch.setattr(train_hooks.ResumePoints, "after_train_iter", then_die)

    return kill_after


@pytest.mark.parametrize(
    ("config", "images", "batch", "smoke", "expected"),
    [
        ({"max_epochs": 5}, 1464, 16, False, (16, 455, 91)),  # the last 8 images of an epoch are dropped
        ({"max_epochs": 3}, 16, 16, False, (16, 3, 1)),
        ({"max_epochs": 3}, 5, 16, False, (16, 3, 1)),  # fewer images than a batch: one batch per epoch
        ({"max_iters": 20000}, 10582, 10, False, (10, 20000, 1058)),
        ({"max_epochs": 0}, 100, 10, False, (10, 0, 10)),
        ({"max_epochs": 5}, 8, 16, True, (2, 3, 4)),
        ({"max_iters": 1}, 8, 16, True, (2, 1, 4)),
    ],
)
def test_the_length_of_a_training(
    config: dict[str, int], images: int, batch: int, smoke: bool, expected: tuple[int, int, int]
) -> None:
    schedule = Schedule.of(TrainConfig(**config), images, batch, smoke)
    assert (schedule.batch_size, schedule.iterations, schedule.per_epoch) == expected


@pytest.mark.parametrize(("killed_after", "resumed_at"), [(1, 0), (3, 2), (4, 4)])
def test_a_killed_training_ends_as_an_undisturbed_one(
    tmp_path: Path,
    shapes_root: Path,
    kill_after: Kill,
    monkeypatch: pytest.MonkeyPatch,
    killed_after: int,
    resumed_at: int,
) -> None:
    whole = run(tmp_path / "whole", shapes_root, TRAIN)
    kill_after(killed_after)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", shapes_root, TRAIN)
    monkeypatch.undo()
    assert not Artifact(tmp_path / "killed").complete
    resumed = run(tmp_path / "killed", shapes_root, TRAIN)
    assert (whole.resumed_at, resumed.resumed_at) == (0, resumed_at)
    assert resumed.images == (6 - resumed_at) * 2
    assert same(weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed"))
    assert not Artifact(tmp_path / "killed").state.exists()


def test_two_trainings_with_one_seed_agree_and_with_two_do_not(tmp_path: Path, shapes_root: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        run(tmp_path / name, shapes_root, TRAIN, seed=seed)
    assert same(weights_of(tmp_path / "one"), weights_of(tmp_path / "again"))
    assert not same(weights_of(tmp_path / "one"), weights_of(tmp_path / "other"))


def test_settings_that_are_in_no_key_do_not_change_the_result(tmp_path: Path, shapes_root: Path) -> None:
    run(tmp_path / "one", shapes_root, TRAIN)
    neutral = merged(
        train_dataloader={"num_workers": 1}, train_cfg={"checkpoint_interval": 5, "log_interval": 1}
    )
    run(tmp_path / "other", shapes_root, neutral)
    assert same(weights_of(tmp_path / "one"), weights_of(tmp_path / "other"))


def test_a_loss_that_is_no_number_stops_at_its_iteration_and_keeps_the_last_good_point(
    tmp_path: Path, shapes_root: Path
) -> None:
    folder = tmp_path / "cam"
    with pytest.raises(FloatingPointError, match="the loss is nan at iteration 4"):
        run(folder, shapes_root, merged(model={"nan_at": 4}))
    assert not Artifact(folder).complete
    assert [path.name for path in (folder / "state").glob("iter_*.pth")] == ["iter_2.pth"]


def test_chosen_epochs_are_kept_beside_the_last_checkpoint(tmp_path: Path, shapes_root: Path) -> None:
    config = merged(train_cfg={"max_iters": None, "max_epochs": 2, "keep_epochs": [1, 2]})
    run(tmp_path / "cam", shapes_root, config)  # three iterations per epoch
    first, second = (weights_of(tmp_path / "cam", f"epoch_{n}.pth") for n in (1, 2))
    assert same(second, weights_of(tmp_path / "cam"))
    assert not same(first, second)
    run(tmp_path / "short", shapes_root, merged(train_cfg={"max_iters": 3}))
    assert list(first) == list(weights_of(tmp_path / "short"))


def test_the_learning_rate_follows_the_poly_rule_to_the_last_iteration(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def note(self: Any, runner: Any, *arguments: Any, **named: Any) -> None:
        rates.append(runner.optim_wrapper.get_lr()["lr"][0])

    monkeypatch.setattr(train_hooks.StageProgress, "before_train_iter", note)
    run(tmp_path / "cam", shapes_root, TRAIN)
    assert rates == pytest.approx([0.1 * (1 - i / 6) ** 0.9 for i in range(6)])


def test_smoke_is_three_iterations_with_a_batch_of_two(tmp_path: Path, shapes_root: Path) -> None:
    report = run(tmp_path / "cam", shapes_root, merged(train_dataloader={"batch_size": 4}), smoke=True)
    assert report.images == 6
    assert Artifact(tmp_path / "cam").manifest.meta["iterations"] == 3


def test_the_report_has_the_loss_over_iterations(tmp_path: Path, shapes_root: Path) -> None:
    losses = run(tmp_path / "cam", shapes_root, TRAIN).losses
    assert losses is not None
    assert losses["iteration"] == [2.0, 4.0, 6.0]
    assert len(losses["loss"]) == 3


FROZEN = merged(
    optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}}, train_cfg={"max_iters": 1}, labels="image"
)


@pytest.mark.parametrize("resets", [False, True], ids=["plain", "part that can begin anew"])
def test_initial_weights_reach_their_part_of_the_model_and_stay(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch, resets: bool
) -> None:
    """mmengine's runner calls `init_weights` of all parts, which timm's transformers have."""
    if resets:
        part = type(TinyNet().classifier)
        monkeypatch.setattr(part, "init_weights", lambda self: self.reset_parameters(), raising=False)
    given = {n: torch.full_like(t, 0.25) for n, t in TinyNet().classifier.state_dict().items()}
    torch.save(given, tmp_path / "weights.pth")
    config = {**FROZEN, "weights": {"name": "tiny", "target": "classifier"}}
    run(tmp_path / "cam", shapes_root, config, weights=tmp_path / "weights.pth")
    trained = weights_of(tmp_path / "cam")
    assert {n: t.unique().tolist() for n, t in trained.items() if n.startswith("classifier")} == {
        "classifier.weight": [0.25],
        "classifier.bias": [0.25],
    }


@pytest.mark.parametrize(
    ("target", "spoil", "message"),
    [
        ("classifier", lambda s: s.pop("bias"), r"1 tensors are missing \(bias\) and 0 are unknown"),
        ("classifier", lambda s: s.update(bias=torch.zeros(3)), r"0 .* \(none\) and 1 .* \(bias\)"),
        ("classifier", lambda s: s.update(extra=torch.zeros(3)), r"0 .* \(none\) and 1 .* \(extra\)"),
        ("clasifier", lambda s: None, r"TinyNet has no part 'clasifier' \(did you mean 'classifier'\?\)"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(
    tmp_path: Path, shapes_root: Path, target: str, spoil: Callable[[Any], Any], message: str
) -> None:
    state = TinyNet().classifier.state_dict()
    spoil(state)
    torch.save(dict(state), tmp_path / "weights.pth")
    config = {**FROZEN, "weights": {"name": "tiny", "target": target}}
    with pytest.raises(InputError, match=message):
        run(tmp_path / "cam", shapes_root, config, weights=tmp_path / "weights.pth")


def test_new_layers_may_be_missing_from_the_weights_where_the_config_says_so(
    tmp_path: Path, shapes_root: Path
) -> None:
    state = {n: t for n, t in TinyNet().state_dict().items() if n.startswith("features")}
    torch.save(state, tmp_path / "weights.pth")
    weights = {"name": "tiny", "allow_missing": ["classifier."]}
    run(tmp_path / "cam", shapes_root, {**FROZEN, "weights": weights}, weights=tmp_path / "weights.pth")
    assert torch.equal(weights_of(tmp_path / "cam")["features.0.weight"], state["features.0.weight"])


def test_a_training_may_start_from_a_part_of_an_earlier_one(tmp_path: Path, shapes_root: Path) -> None:
    run(tmp_path / "cam", shapes_root, TRAIN)
    config = {
        **FROZEN,
        "model": {"type": "TinyNet", "num_classes": 11},
        "labels": "mask",
        "init": {"stage": "cam", "source": "features.", "target": "features"},
    }
    run(tmp_path / "seg", shapes_root, config, inputs={"init": tmp_path / "cam"}, seed=3)
    cam, seg = weights_of(tmp_path / "cam"), weights_of(tmp_path / "seg")
    assert torch.equal(cam["features.0.weight"], seg["features.0.weight"])
    assert seg["classifier.weight"].shape[0] == 11


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"source": "classifier.", "target": "features"}, "'classifier.' of stage 'cam' does not fit 'feat"),
        ({"source": "features.", "target": "backbone"}, "TinyNet has no part 'backbone'"),
    ],
)
def test_a_part_that_does_not_fit_is_one_sentence(
    tmp_path: Path, shapes_root: Path, init: dict[str, str], message: str
) -> None:
    run(tmp_path / "cam", shapes_root, FROZEN)
    with pytest.raises(InputError, match=message) as caught:
        run(
            tmp_path / "seg",
            shapes_root,
            {**FROZEN, "init": {"stage": "cam", **init}},
            inputs={"init": tmp_path / "cam"},
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_label_is_one_sentence_from_a_loading_process_too(
    tmp_path: Path, shapes_root: Path, workers: int
) -> None:
    masks = Artifact(tmp_path / "pseudo").open()
    masks.finish("masks", "pseudo", "0", {})
    config = {**merged(train_dataloader={"num_workers": workers}), "labels": "pseudo"}
    with pytest.raises(InputError, match=r"^there is no mask .*\.png: .*") as caught:
        run(tmp_path / "seg", shapes_root, config, inputs={"labels": masks.folder})
    assert "\n" not in str(caught.value)
