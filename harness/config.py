"""Method configs: found by name, inherited by mmengine, overridden by `--set`, checked against the schema."""

from __future__ import annotations

import ast
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.components import component_arguments
from harness.errors import InputError, nearest
from harness.files import canonical_json
from harness.schema import STAGE_TYPES, MethodConfig

METHODS = Path(__file__).resolve().parents[1] / "methods"
_DATASETS = ("coco", "cub", "ilsvrc", "shapes", "voc")
_SHARED = (
    "modules"  # the folder of what several methods use; it has no configs, whatever its files are called
)
_SECTIONS = ("title", "dataset", "custom_imports", "stages")


@dataclass(frozen=True)
class Override:
    """One `--set path=value`."""

    path: tuple[str, ...]
    value: Any

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}={self.value!r}"


def list_methods(root: Path = METHODS) -> list[str]:
    """Ids of the methods that have at least one config."""
    folders = (path.parent for path in root.glob("*/*.py") if path.name != "__init__.py")
    return sorted({f.name for f in folders if not f.name.startswith("_") and f.name != _SHARED})


def list_configs(method: str, root: Path = METHODS) -> list[str]:
    """Names of a method's configs: `<dataset>` or `<dataset>_<variant>`."""
    stems = (path.stem for path in (root / method).glob("*.py"))
    return sorted(stem for stem in stems if stem.split("_")[0] in _DATASETS)


def is_config(path: Path) -> bool:
    """Whether a file, given relative to the methods' folder, is a config or part of one."""
    if path.parts[0] in ("_base_", _SHARED):
        return path.parts[0] == "_base_"
    return len(path.parts) > 1 and path.stem.split("_")[0] in _DATASETS


def find_config(method: str, dataset: str, variant: str | None = None, root: Path = METHODS) -> Path:
    """Path of a method's config for a dataset.

    Raises:
        InputError: no such method, dataset or variant; names the nearest one there is.
    """
    methods = [name for name in list_methods(root) if list_configs(name, root)]
    if method not in methods:
        raise InputError(
            f"there is no method '{method}'{nearest(method, methods)}; the methods are {', '.join(methods)}"
        )
    stem = f"{dataset}_{variant}" if variant else dataset
    configs = list_configs(method, root)
    if stem not in configs:
        what = f"variant '{variant}' for dataset '{dataset}'" if variant else f"dataset '{dataset}'"
        raise InputError(
            f"method '{method}' has no config for {what}{nearest(stem, configs)}; "
            f"{root.name}/{method}/ has {', '.join(configs)}"
        )
    return root / method / f"{stem}.py"


def parse_override(text: str) -> Override:
    """Read `a.b=value`; the value is a Python literal, or else a string.

    Raises:
        InputError: there is no `=` or no path, or the value is nothing that JSON can hold.
    """
    name, equals, value = text.partition("=")
    path = tuple(part.strip() for part in name.split("."))
    if not equals or not all(path):
        raise InputError(f"--set {text!r} is not of the form path.to.key=value")
    override = Override(path, _literal(value.strip()))
    try:
        canonical_json(_plain(override.value))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--set {text}: a config holds numbers, text, true, false, none, and lists and dicts of them"
        ) from error
    return override


def _literal(text: str) -> Any:
    constants = {"true": True, "false": False, "null": None, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def load_config(path: Path, overrides: Sequence[Override] = ()) -> MethodConfig:
    """Load a config file with what it inherits, apply the overrides, check everything.

    Raises:
        InputError: the file does not load, an override names an unknown key or has the wrong type, or a
            value does not fit the schema; says where.
    """
    document = _read(path)
    for override in overrides:
        apply_override(document, override)
    try:
        return MethodConfig.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{_where(path, overrides)}: {_first_problem(error)}") from error


def _read(path: Path) -> dict[str, Any]:
    from mmengine.config import Config

    try:
        loaded = Config.fromfile(str(path), import_custom_modules=False)
    except Exception as error:  # a config is Python: whatever it raises is a fault of the config
        raise InputError(f"the config {path} does not load: {type(error).__name__}: {error}") from error
    plain = _plain(loaded.to_dict())
    document = {name: plain[name] for name in _SECTIONS if name in plain}
    imports = document.get("custom_imports")
    if isinstance(imports, Mapping):
        document["custom_imports"] = imports.get("imports", [])
    return document


def _plain(value: Any) -> Any:
    """Nested mappings and sequences as dict and list, so that a config is JSON and has one canonical form."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def apply_override(document: dict[str, Any], override: Override) -> None:
    """Set one value in place; the key must exist in the config or in the schema, with a fitting type.

    Raises:
        InputError: unknown key (with the nearest one) or wrong type.
    """
    node: Any = document
    for depth, part in enumerate(override.path[:-1]):
        here = override.path[: depth + 1]
        if not isinstance(node, dict) or node.get(part) is None:
            known = set(node) if isinstance(node, dict) else set()
            if part not in known | _schema_keys(document, override.path[:depth]):
                raise _unknown(override, here, known | _schema_keys(document, override.path[:depth]))
            if not isinstance(node, dict):
                raise InputError(f"--set {override}: {'.'.join(here[:-1])} has no keys")
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: {'.'.join(here)} is {node!r}, which has no keys")
    _assign(document, node, override)


def _assign(document: dict[str, Any], node: dict[str, Any], override: Override) -> None:
    part = override.path[-1]
    known = set(node) | _schema_keys(document, override.path[:-1])
    if part not in known and isinstance(node.get("type"), str) and len(override.path) > 3:
        known |= component_arguments(node["type"], document.get("custom_imports", [])) or set()
    if part not in known:
        raise _unknown(override, override.path, known)
    old, value = node.get(part), _plain(override.value)
    if part not in _schema_keys(document, override.path[:-1]) and not _fits(value, old):
        is_what = f"has the keys {', '.join(old)}" if isinstance(old, dict) else f"is {old!r}"
        raise InputError(
            f"--set {override}: {'.'.join(override.path)} {is_what} in the config, "
            f"so a value of type {type(old).__name__} is needed"
        )
    inside_component = part == "type" and len(override.path) > 3
    if inside_component and component_arguments(value, document.get("custom_imports", [])) is None:
        raise InputError(
            f"--set {override}: there is no component '{value}' in mmseg, the harness or "
            f"{', '.join(document.get('custom_imports', []))}: see docs/add-a-method.md"
        )
    node[part] = value


def _fits(value: Any, old: Any) -> bool:
    """Whether an override may take an old value's place (an int does for a float; None fits anything)."""
    if old is None or value is None:
        return True
    if isinstance(old, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(old, bool)
    if isinstance(old, float):
        return isinstance(value, int | float)
    return isinstance(value, type(old))


def _unknown(override: Override, path: tuple[str, ...], known: set[str]) -> InputError:
    inside = ".".join(path[:-1]) or "the config"
    listing = f"; {inside} has {', '.join(sorted(known))}" if known else f"; {inside} has no keys"
    return InputError(f"--set {override}: there is no '{path[-1]}'{nearest(path[-1], known)}{listing}")


def _schema_keys(document: Mapping[str, Any], path: tuple[str, ...]) -> set[str]:
    """Keys that the schema allows at a path, whether or not the config uses them."""
    model: Any = MethodConfig
    for depth, part in enumerate(path):
        if model is None:
            return set()
        if path[:depth] == ("stages",):
            stage: Any = document.get("stages", {}).get(part)
            model = _stage_model(stage) if isinstance(stage, Mapping) else None
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
        else:
            return set()
    if isinstance(model, type) and issubclass(model, BaseModel):
        return set(model.model_fields)
    return set()


def _stage_model(stage: Mapping[str, Any]) -> type[BaseModel] | None:
    return STAGE_TYPES.get("foreign" if "foreign" in stage else str(stage.get("type")))


def _model_in(annotation: Any) -> Any:
    """The pydantic model in an annotation such as `Weights | None`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((found for item in typing.get_args(annotation) if (found := _model_in(item))), None)
    return "any" if typing.get_origin(annotation) is dict else None


def _where(path: Path, overrides: Sequence[Override]) -> str:
    changed = f" with --set {', '.join(map(str, overrides))}" if overrides else ""
    return f"the config {path.parent.name}/{path.name}{changed}"


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    # pydantic names the chosen member of the stage union in the location; it is no part of the config's path.
    place = [str(part) for part in first["loc"]]
    if len(place) > 2 and place[0] == "stages" and place[2] in STAGE_TYPES:
        del place[2]
    message = re.sub(r"^Value error, ", "", first["msg"])
    hint = ""
    if first["type"] == "extra_forbidden" and len(place) > 1:
        message = "is no known key"
        known = set(STAGE_TYPES) if place[0] == "stages" and len(place) == 2 else _known_beside(first["loc"])
        hint = nearest(place[-1], known)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{'.'.join(place)}: {message}{hint}{more}"


def _known_beside(location: tuple[int | str, ...]) -> set[str]:
    """Schema keys beside an unknown one, from pydantic's location of it."""
    parts = [str(part) for part in location]
    model: Any = MethodConfig
    for part in parts[:-1]:
        if part in STAGE_TYPES:
            model = STAGE_TYPES[part]
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return set(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else set()
