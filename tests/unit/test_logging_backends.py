"""Curves of trainings: TensorBoard by default, MLflow and W&B on demand, and none of it in a key."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from harness.artifact import Artifact
from harness.config import find_config, load_config, parse_override
from harness.errors import InputError
from harness.executors import Environment
from harness.plan import Ingredients, make_plan
from harness.request import RunLabel
from harness.training_logs import mlflow_store, remove_links, require_tools, vis_backends
from tests.command import Command
from tests.tiny_stages import TRAIN, request, run, same, weights_of

LABEL = RunLabel(run_id="20260101-000000-cam-shapes-0000", method="cam", variant="long")


@pytest.fixture(autouse=True)
def _tools_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own settings of the tools do not count; what is set here is forgotten after the test."""
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_ALLOW_FILE_STORE",
        "MLFLOW_DISABLE_TELEMETRY",
        "WANDB_MODE",
        "WANDB_PROJECT",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def with_log_to(*tools: str) -> dict[str, Any]:
    return {**TRAIN, "train_cfg": {**TRAIN["train_cfg"], "log_to": list(tools)}}


def backends(root: Path, folder: Path, config: dict[str, Any], **changes: Any) -> dict[str, dict[str, Any]]:
    found = vis_backends(request(root, config, "cam", **changes), Artifact(folder))
    return {backend["type"]: backend for backend in found}


def test_tensorboard_gets_loss_and_learning_rate_by_default(tmp_path: Path, shapes_root: Path) -> None:
    run(tmp_path / "cam", shapes_root, TRAIN)
    events = EventAccumulator(str(tmp_path / "cam" / "files" / "tensorboard")).Reload()
    assert {"loss", "lr"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6]


def test_mlflow_s_local_store_has_the_curves_and_says_what_they_are_of(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed (requirements/dev.in)")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("HOME", str(tmp_path))
    folder, store = tmp_path / "artifacts" / "cam", mlflow_store(tmp_path)
    label = LABEL.model_copy(update={"mlruns": store})
    run(folder, shapes_root, TRAIN, run=label, log_to=["mlflow"], seed=3)
    client = MlflowClient(f"file://{store}")
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    assert experiment.name == "cam-shapes"
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == f"{LABEL.run_id} cam"
    tags = {"run_id": LABEL.run_id, "method": "cam", "variant": "long", "dataset": "shapes", "seed": "3"}
    assert tags.items() <= found.data.tags.items()
    assert found.data.params["model.type"] == "TinyNet"
    for name in ("loss", "lr"):
        assert [point.step for point in client.get_metric_history(found.info.run_id, name)] == [2, 4, 6]
    assert (folder / "files" / "tensorboard").is_dir()
    assert Artifact(folder).problem() is None


def test_logging_changes_neither_weights_nor_keys(tmp_path: Path, shapes_root: Path) -> None:
    run(tmp_path / "one", shapes_root, TRAIN)
    run(tmp_path / "none", shapes_root, with_log_to())
    assert same(weights_of(tmp_path / "one"), weights_of(tmp_path / "none"))
    ingredients = Ingredients(dataset={}, weights={}, code="", environment="", seed=0)
    path = find_config("cam", "shapes")
    keys = [
        [stage.key for stage in make_plan(load_config(path, overrides), ingredients, tmp_path).stages]
        for overrides in ([], [parse_override("stages.cam.train_cfg.log_to=['mlflow']")])
    ]
    assert keys[0] == keys[1]


def test_wandb_is_offline_and_named_unless_the_user_says_otherwise(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_log_to("wandb")
    found = backends(shapes_root, tmp_path, config, run=LABEL, seed=3)
    assert list(found) == ["WandbVisBackend"]
    settings = found["WandbVisBackend"]["init_kwargs"]
    assert os.environ["WANDB_MODE"] == "offline"
    assert (settings["project"], settings["name"]) == ("wsss-harness", f"{LABEL.run_id} cam")
    assert (settings["group"], settings["job_type"]) == (LABEL.run_id, "cam")
    assert settings["tags"] == ["cam-shapes", "seed 3"]
    assert settings["config"]["model"] == {"type": "TinyNet"}
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    again = backends(shapes_root, tmp_path, config)["WandbVisBackend"]
    assert os.environ["WANDB_MODE"] == "online"
    assert again["init_kwargs"]["project"] == "mine"


def test_an_mlflow_server_of_the_user_is_taken(
    tmp_path: Path, shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    found = backends(shapes_root, tmp_path, with_log_to("mlflow"))
    assert found["MLflowVisBackend"]["tracking_uri"] == "http://localhost:5000"


def test_a_tool_is_logged_to_once(tmp_path: Path, shapes_root: Path) -> None:
    found = vis_backends(
        request(shapes_root, TRAIN, "cam", log_to=["tensorboard", "mlflow"]), Artifact(tmp_path)
    )
    assert [backend["type"] for backend in found] == ["TensorboardVisBackend", "MLflowVisBackend"]


def test_links_of_a_tool_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "wandb" / "offline-run").mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").symlink_to("offline-run")
    (tmp_path / "wandb" / "offline-run" / "run.wandb").write_bytes(b"x")
    remove_links(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["offline-run", "run.wandb", "wandb"]


CAM = find_config("cam", "shapes")


def place(*packages: str, image: str | None = None) -> Environment:
    """Where stages are executed, with these packages."""
    versions = dict.fromkeys(("tensorboard", *packages), "1")
    return Environment("local", "e0", image, None, None, "3.11", versions, "Linux")


@pytest.mark.parametrize(
    ("overrides", "asked", "where", "message"),
    [
        (
            [],
            ["mlflow"],
            place(),
            r"this interpreter has no package mlflow or mlflow-skinny: install it there",
        ),
        ([], ["wandb"], place(image="i:1"), r"the image i:1 has no package wandb: .* \(pip install wandb\)"),
        (["stages.cam.train_cfg.log_to=['wandb']"], [], place(), "log to wandb, but this interpreter has no"),
        ([], ["mlflo"], place(), r"--log-to mlflo: there is no such tool \(did you mean 'mlflow'\?\)"),
        ([], ["mlflow"], place("mlflow", image="i:1"), "a container may write to its artifact only"),
    ],
)
def test_a_tool_that_cannot_be_had_is_one_sentence_before_anything_runs(
    overrides: list[str], asked: list[str], where: Environment, message: str, tmp_path: Path
) -> None:
    config = load_config(CAM, [parse_override(text) for text in overrides])
    with pytest.raises(InputError, match=message):
        require_tools(config, asked, where, tmp_path)


def test_a_store_that_mlflow_would_not_read_is_refused_unless_it_has_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, work = load_config(CAM), tmp_path / "artifacts" / "work"
    with pytest.raises(InputError, match="because it lies in a folder named 'artifacts'"):
        require_tools(config, ["mlflow"], place("mlflow"), work)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    require_tools(config, ["mlflow"], place("mlflow"), work)


def test_any_package_that_brings_the_tool_will_do(tmp_path: Path) -> None:
    require_tools(load_config(CAM), ["mlflow"], place("mlflow-skinny"), tmp_path)


def test_the_command_refuses_an_unknown_tool(command: Command, shapes_root: Path, tmp_path: Path) -> None:
    outcome = command(
        *("run", "--method", "cam", "--dataset", "shapes", "--data-root", shapes_root, "--executor", "local"),
        *("--work-dir", tmp_path / "work", "--log-to", "tensorbord", "--dry-run"),
    )
    assert outcome.status == 2
    assert outcome.sentence.startswith(
        "--log-to tensorbord: there is no such tool (did you mean 'tensorboard'?)"
    )


def test_wandb_writes_an_offline_run(tmp_path: Path, shapes_root: Path) -> None:
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    run(tmp_path / "cam", shapes_root, with_log_to("wandb"), run=LABEL)
    assert list((tmp_path / "cam" / "files").rglob("*.wandb"))
