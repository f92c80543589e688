"""`--use`: what takes a stage's place, what is left out then, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.artifact import Artifact
from harness.config import METHODS, load_config
from harness.data import open_dataset
from harness.errors import InputError
from harness.imported import import_stages, require_predictions
from harness.plan import Ingredients, Plan, make_plan
from harness.record import read_record
from harness.schema import MethodConfig
from tests.command import Command

INGREDIENTS = Ingredients({}, {}, "", "", 0)
IDS = {"train": ["a", "b"], "train_aug": ["a", "b", "c"], "val": ["v"]}


@pytest.fixture(scope="module")
def config() -> MethodConfig:
    return load_config(METHODS / "irn" / "shapes.py")


def scores(folder: Path, names: str = "ab", content: bytes = b"scores") -> Path:
    """An artifact of scores with a file per image."""
    artifact = Artifact(folder).open()
    for name in names:
        (artifact.files / f"{name}.npz").write_bytes(content)
    artifact.finish("scores", "imported", "imported", {"scores": "cam"})
    return folder


def plan_with(config: MethodConfig, choices: list[str], tmp_path: Path) -> Plan:
    return make_plan(config, INGREDIENTS, tmp_path, import_stages(config, choices, tmp_path))


def test_stages_that_only_the_imported_one_reads_are_left_out(config: MethodConfig, tmp_path: Path) -> None:
    full = {stage.name for stage in make_plan(config, INGREDIENTS, tmp_path).stages}
    plan = plan_with(config, [f"cam_scores={scores(tmp_path / 'them')}"], tmp_path)
    assert {stage.name for stage in plan.stages} == full  # `irn` and `seg` start from `cam`
    assert plan["cam_scores"].imported
    assert plan["cam_scores"].inputs == {}
    small = load_config(METHODS / "cam" / "shapes.py")
    plan = plan_with(small, [f"cam_scores={tmp_path / 'them'}"], tmp_path)
    assert [stage.name for stage in plan.stages] == ["cam_scores", "seeds"]


def test_keys_behind_it_depend_on_the_content_alone(config: MethodConfig, tmp_path: Path) -> None:
    usual = make_plan(config, INGREDIENTS, tmp_path)
    one = plan_with(config, [f"cam_scores={scores(tmp_path / 'one')}"], tmp_path)
    same = plan_with(config, [f"cam_scores={scores(tmp_path / 'same')}"], tmp_path)
    other = plan_with(config, [f"cam_scores={scores(tmp_path / 'other', content=b'others')}"], tmp_path)
    for name in ("cam_scores", "seeds", "pseudo", "seg"):
        assert one[name].key == same[name].key
        assert len({plan[name].key for plan in (usual, one, other)}) == 3
    assert usual["cam"].key == one["cam"].key


def test_readers_must_find_all_their_images(config: MethodConfig, tmp_path: Path) -> None:
    plan = plan_with(config, [f"cam_scores={scores(tmp_path / 'them', 'a')}"], tmp_path)
    expected = (
        r"no prediction for 1 of 2 images of split 'train', which stage 'seeds' reads \(the first is b\)"
    )
    with pytest.raises(InputError, match=expected):
        require_predictions(plan, IDS)
    require_predictions(plan, IDS, only="seg")
    require_predictions(plan_with(config, [f"cam_scores={scores(tmp_path / 'all')}"], tmp_path), IDS)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("cam_scores", "--use cam_scores is not of the form STAGE=PATH"),
        ("cam_score=.", r"there is no stage 'cam_score' \(did you mean 'cam_scores'\?\)"),
        ("cam_scores={}/nowhere", r"is no artifact .*: import the predictions with `harness results import`"),
        (
            "cam={}/nowhere",
            r"is no artifact .*: name a checkpoint that `harness weights convert` has written",
        ),
        ("pseudo={}/them", "the stage makes masks, but .*them holds scores"),
        ("cam_scores={}/broken", r"b\.npz has 4 bytes instead of 6: import it anew"),
        (
            "cam={}/model.pth",
            r"does not fit CAMNet: 121 tensors are missing \(backbone.* 1 are unknown",
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    config: MethodConfig, tmp_path: Path, choice: str, message: str
) -> None:
    scores(tmp_path / "them")
    (scores(tmp_path / "broken") / "files" / "b.npz").write_bytes(b"torn")
    torch.save({"other.weight": torch.zeros(2)}, tmp_path / "model.pth")
    with pytest.raises(InputError, match=message):
        import_stages(config, [choice.format(tmp_path)], tmp_path / "artifacts")


def test_a_checkpoint_takes_the_place_of_a_training(config: MethodConfig, tmp_path: Path) -> None:
    from mmseg.registry import MODELS

    from harness.components import import_modules

    import_modules(config.custom_imports)
    torch.save(MODELS.build(config.stages["cam"].model).state_dict(), tmp_path / "model.pth")
    choice = f"cam={tmp_path / 'model.pth'}"
    plan = plan_with(config, [choice], tmp_path / "artifacts")
    artifact = plan["cam"].artifact
    assert artifact.folder.parent == tmp_path / "artifacts"
    assert artifact.manifest.meta["model"] == config.stages["cam"].model
    assert (artifact.files / "model.pth").read_bytes() == (tmp_path / "model.pth").read_bytes()
    again = plan_with(config, [choice], tmp_path / "artifacts")
    assert again["cam"].artifact.folder == artifact.folder
    assert again["seg"].key == plan["seg"].key


def test_perfect_maps_of_another_code_give_perfect_seeds(
    command: Command, shapes_root: Path, tmp_path: Path
) -> None:
    dataset = open_dataset("shapes", shapes_root)
    (tmp_path / "them").mkdir()
    for name in dataset.ids("train"):
        mask = dataset.read_mask(name, "train")
        maps = {
            int(c): (mask == c + 1).astype(np.float32) for c in np.flatnonzero(dataset.image_labels(name))
        }
        np.save(tmp_path / "them" / f"{name}.npy", maps, allow_pickle=True)
    imported = command(
        "results", "import", tmp_path / "them", "--dataset", "shapes", "--out", tmp_path / "imported"
    )
    assert imported.status == 0, imported.errors
    options = ["--data-root", shapes_root, "--work-dir", tmp_path / "work", "--executor", "local"]
    done = command("run", "--method", "cam", *options, "--use", f"cam_scores={tmp_path / 'imported'}")
    assert done.status == 0, done.errors
    (path,) = (tmp_path / "work" / "runs").glob("*/record.json")
    record = read_record(path)
    assert [(s.name, s.state) for s in record.stages] == [("cam_scores", "imported"), ("seeds", "done")]
    assert record.stages[0].artifact == str(tmp_path / "imported")
    assert "imported cam_scores" in record.marks
    assert [metric.value for metric in record.metrics] == [1.0, 1.0]
    assert record.metrics[0].protocol.details["inference"] == {"type": "imported", "layout": "cam-index"}
    exported = command(
        *("results", "export", record.run_id, "cam_scores", "--layout", "cam-index"),
        *("--out", tmp_path / "back", "--work-dir", tmp_path / "work"),
    )
    assert exported.status == 0, exported.errors
    for path in (tmp_path / "them").iterdir():
        ours = np.load(tmp_path / "back" / path.name, allow_pickle=True).item()
        theirs = np.load(path, allow_pickle=True).item()
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
