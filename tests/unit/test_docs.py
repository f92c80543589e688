"""The documentation names what there is: fields, options, targets, config keys, files; its examples work."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from pydantic import BaseModel

from harness.artifact import FileEntry, Manifest
from harness.cli import app
from harness.config import METHODS, find_config, list_configs, list_methods, load_config, parse_override
from harness.errors import InputError
from harness.monitor import Measurements
from harness.progress import Progress
from harness.record import RunRecord
from harness.report import Metric, Protocol, Report
from harness.request import DatasetRequest, StageRequest
from harness.schema import STAGE

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "docker/*.md", "methods/*/*.md") for path in ROOT.glob(pattern)
)
CONTRACT = (ROOT / "docs" / "stage-contract.md").read_text(encoding="utf-8")
CODE = re.compile(r"```.*?```|^    .*?$(?:\n {4}.*?$)*|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def _page(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _code(path: Path) -> Iterator[str]:
    """Code blocks and spans of a page, commands that go on behind a backslash or a line's end in one line."""
    for found in CODE.findall(path.read_text(encoding="utf-8")):
        yield from re.sub(r"\\\n\s*", " ", found).splitlines() if "\n" in found else [found]


def _example(name: str) -> str:
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```json\n(.*?)```", CONTRACT, re.DOTALL)
    assert found, f"the contract has no example of {name}"
    return found[1]


@pytest.mark.parametrize(
    "model", [StageRequest, DatasetRequest, Manifest, FileEntry, Report, Metric, Protocol, Measurements]
)
def test_the_contract_names_every_field(model: type[BaseModel]) -> None:
    missing = [name for name in model.model_fields if f"`{name}`" not in CONTRACT]
    assert not missing


def test_the_contract_s_examples_are_valid_and_belong_together() -> None:
    request = StageRequest.model_validate_json(_example("stage.json"))
    report = Report.model_validate_json(_example("report.json"))
    manifest = Manifest.model_validate_json(_example("manifest.json"))
    Progress(**json.loads(_example("progress.json")))
    assert set(json.loads(_example("error.json"))) == {"message"}
    assert STAGE.validate_python(request.config).model_dump(mode="json") == request.config
    assert {report.key, manifest.key} == {request.key}
    assert {report.stage, manifest.stage} == {request.stage}


@pytest.mark.parametrize(
    ("name", "model"), [("stage.json", StageRequest), ("report.json", Report), ("manifest.json", Manifest)]
)
def test_the_contract_s_examples_are_complete(name: str, model: type[BaseModel]) -> None:
    document = json.loads(_example(name))
    assert set(document) == set(model.model_fields)


def test_the_exported_schema_is_that_of_the_record() -> None:
    exported = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
    assert exported == RunRecord.model_json_schema(), (
        "export it again: harness schema docs/record.schema.json"
    )


def _verbs() -> dict[str, set[str]]:
    """Options by verb, as `image build`."""
    found: dict[str, set[str]] = {}

    def visit(name: str, command: object) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            options = {
                option
                for parameter in command.params
                for option in (*parameter.opts, *parameter.secondary_opts)
            }
            found[name] = {option for option in options if option.startswith("--")} | {"--help"}
        else:
            for child, sub in children.items():
                visit(f"{name} {child}".strip(), sub)

    visit("", typer.main.get_command(app))
    return found


VERBS = _verbs()
COMMAND = re.compile(r"(?:^|[\s`/])harness ((?:data |image |results |weights )?[a-z|]+)((?: .*)?)$")


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_commands_and_options_exist(path: Path) -> None:
    for line in _code(path):
        if found := COMMAND.search(line.strip("` ").split("  ")[0]):
            names, rest = found.groups()
            group, _, last = names.rpartition(" ")
            for verb in (f"{group} {name}".strip() for name in last.split("|")):
                assert verb in VERBS, line
                assert set(re.findall(r"--[a-z-]+", rest)) <= VERBS[verb], line
        elif line.startswith("`--"):
            assert any(line.strip("`").split()[0].split("=")[0] in options for options in VERBS.values()), (
                line
            )


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for line in _code(path) for target in re.findall(r"\bmake ([a-z]+)", line)}
    assert named <= targets


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_relative_links_resolve(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_named_files_are_there(path: Path) -> None:
    for name in re.findall(
        r"`((?:harness|methods|tests|docker|docs|leaderboard)/[\w./]+)`", path.read_text()
    ):
        if "gmp" not in name:  # the example of add-a-method.md
            assert (ROOT / name).exists(), name


def _overrides(path: Path) -> list[str]:
    spans = [part for line in _code(path) for part in re.findall(r"stages\.[\w.]+=[^\s`]*", line)]
    return [span.replace("…", "") for span in spans]


@pytest.mark.parametrize("path", [page for page in PAGES if _overrides(page)], ids=_page)
def test_config_keys_exist(path: Path) -> None:
    method = path.parent.name if path.parent.name in list_methods() else "vwe"
    configs = [METHODS / method / f"{name}.py" for name in list_configs(method) if name.startswith("voc")]
    for text in _overrides(path):
        assert any(_accepts(config, text) for config in configs), text


def _accepts(config: Path, text: str) -> bool:
    try:
        load_config(config, [parse_override(text)])
    except InputError:
        return False
    return True


def test_the_example_method_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    import methods
    from harness.schema import TrainStage

    page = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    for name, content in re.findall(
        r"^`methods/(gmp/\w+\.py)`.*?```python\n(.*?)```", page, re.DOTALL | re.M
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "_base_").symlink_to(METHODS / "_base_")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])

    config = load_config(find_config("gmp", "shapes", root=tmp_path))
    for module in config.custom_imports:
        importlib.import_module(module)
    stage = config.stages["cam"]
    assert isinstance(stage, TrainStage)
    sample = SegDataSample()
    sample.set_data({"image_labels": torch.eye(10)[0]})
    losses = MODELS.build(stage.model)(torch.randn(2, 3, 64, 64), [sample, sample], mode="loss")
    losses["loss_image"].backward()


def test_the_example_dockerfile_is_that_of_a_method() -> None:
    page = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    example = re.search(r"```dockerfile\n(.*?)```", page, re.DOTALL)
    real = (ROOT / "docker" / "cam.Dockerfile").read_text(encoding="utf-8")
    assert example
    assert example[1].splitlines() == [line for line in real.splitlines() if not line.startswith("#")]
