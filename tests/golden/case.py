"""A golden case: how its tensors are made, which adapter runs it, how the outputs are compared.

An adapter is a function `(case: Case) -> dict[str, array | tensor | float | int]` registered under the
case's name; it calls the project's modules and returns every output that the case lists.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

Adapter = Callable[["Case"], Mapping[str, Any]]
_PRINTED_PRECISION = 5e-9
ADAPTERS: dict[str, Adapter] = {}


class Unavailable(Exception):
    """The case needs material that is not part of the project (say, the raw VOC annotations)."""


def rng(key: str) -> np.random.RandomState:
    """The stream that belongs to a name; numpy guarantees that it never changes."""
    return np.random.RandomState(zlib.crc32(key.encode("utf-8")))


def adapter(*names: str, method: str | None = None) -> Callable[[Adapter], Adapter]:
    """Register a function as the adapter of the cases with these names.

    Args:
        names: of the cases.
        method: only in files of this method; for names that stand for different things in two of them.
    """

    def register(function: Adapter) -> Adapter:
        for name in names:
            key = f"{method}/{name}" if method else name
            if key in ADAPTERS:
                raise ValueError(f"two adapters for the golden case {key!r}")
            ADAPTERS[key] = function
        return function

    return register


def load_adapters() -> None:
    """Import every module of `tests.golden.adapters`, which registers their adapters."""
    from tests.golden import adapters

    for module in pkgutil.iter_modules(adapters.__path__):
        importlib.import_module(f"{adapters.__name__}.{module.name}")


def fill_parameter(
    name: str, shape: list[int], override: Mapping[str, float] | str | None = None
) -> torch.Tensor:
    """One network tensor by the golden files' rules.

    Args:
        name: upstream parameter name, which seeds the stream and selects the rule.
        shape: its shape.
        override: optional `mul` and `add` applied to the value, or `ones` in its place.
    """
    if override == "ones":
        return torch.ones(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    z = _normals(name, tuple(shape)).copy()
    if name.endswith("running_var"):
        z = 1 + 0.1 * np.abs(z)
    elif name.endswith("running_mean"):
        z = 0.1 * z
    elif len(shape) == 1 and name.endswith("weight"):
        z = 1 + 0.1 * z
    elif len(shape) == 1:
        z = 0.05 * z
    else:
        z /= np.sqrt(z.size / shape[0])
    if override:
        assert not isinstance(override, str), f"unknown rule for {name}: {override}"
        z = override.get("mul", 1.0) * z + override.get("add", 0.0)
    return torch.from_numpy(np.asarray(z, dtype="float32"))


_KEPT_BYTES = 512 << 20  # a wide ResNet-38 with its heads
_kept: OrderedDict[tuple[str, tuple[int, ...]], np.ndarray] = OrderedDict()


def _normals(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers of a name's stream; those last asked for are kept, as cases share large networks."""
    found = _kept.pop((name, shape), None)
    if found is None:
        found = rng(name).standard_normal(shape).astype("float32")
    _kept[name, shape] = found
    while sum(array.nbytes for array in _kept.values()) > _KEPT_BYTES:
        _kept.popitem(last=False)
    return found


def forget_tensors() -> None:
    """Free what is kept for the next case."""
    _kept.clear()


def make_input(entry: Mapping[str, Any]) -> np.ndarray:
    """One input array from its entry in the golden file."""
    kind = entry["kind"]
    if kind == "literal":
        return np.array(entry["value"], dtype=entry["dtype"])
    stream, shape = rng(entry["seed"]), entry["shape"]
    if kind == "normal":
        z = stream.standard_normal(shape).astype("float32")
        return (entry["scale"] * z + entry["shift"]).astype("float32")
    if kind == "uniform":
        return stream.uniform(entry["low"], entry["high"], shape).astype("float32")
    if kind == "integers":
        return stream.randint(entry["low"], entry["high"], shape).astype("int64")
    raise ValueError(f"unknown kind of golden input: {kind!r}")


@dataclass(frozen=True)
class Case:
    """One case of a golden file; see `shared/golden` for the format."""

    method: str
    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.raw["name"])

    @property
    def config(self) -> Mapping[str, Any]:
        return self.raw.get("config") or {}

    @property
    def outputs(self) -> Mapping[str, Any]:
        return self.raw["outputs"]

    @property
    def tolerance(self) -> float:
        return float(self.raw["tolerance"])

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The inputs as numpy arrays."""
        return {name: make_input(entry) for name, entry in self.raw["inputs"].items()}

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The inputs as torch tensors."""
        return {name: torch.from_numpy(array) for name, array in self.arrays.items()}

    def state(self) -> dict[str, torch.Tensor]:
        """The network state under the upstream names, filled by rule (a fresh copy at every call)."""
        overrides = self.config.get("state_overrides") or {}
        return {
            name: fill_parameter(name, shape, overrides.get(name))
            for name, shape in (self.raw.get("state") or {}).items()
        }


@dataclass(frozen=True)
class Outcome:
    """Result of one case: the worst relative error over its outputs, or why there is none."""

    name: str
    status: str  # "pass", "FAIL" or "skip"
    error: float | None
    detail: str = ""


def _array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _is_exact(value: Any) -> bool:
    """Whether an output is text, a mapping or a list of such, which has no relative error."""
    if isinstance(value, list):
        return any(map(_is_exact, value))
    # JSON has no number for it: an undefined value stands as text.
    return value is None or (isinstance(value, str | dict) and value != "nan")


def _start(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def relative_error(ours: Any, digest: Mapping[str, Any]) -> float:
    """Relative L2 error over the sampled values of one output.

    Raises:
        ValueError: the shape differs.
    """
    if _is_exact(digest["value"]):
        if ours != digest["value"]:
            raise ValueError(f"{_start(ours)}, golden {_start(digest['value'])}")
        return 0.0
    array = _array(ours)
    golden = np.asarray(digest["value"], dtype=np.float64)
    if "index" in digest:
        if list(array.shape) != list(digest["shape"]):
            raise ValueError(f"shape {list(array.shape)}, golden {list(digest['shape'])}")
        array = array.reshape(-1)[np.asarray(digest["index"], dtype=np.int64)]
    array = array.astype(np.float64).reshape(-1)
    golden = golden.reshape(-1)
    if array.shape != golden.shape:
        raise ValueError(f"{array.size} values, golden {golden.size}")
    undefined = np.isnan(golden)
    if not np.isnan(array[undefined]).all() or not np.isfinite(array[~undefined]).all():
        return float("inf")
    array, golden = array[~undefined], golden[~undefined]
    norm = float(np.linalg.norm(golden))
    difference = float(np.linalg.norm(array - golden))
    return difference / norm if norm else difference


def moments_error(ours: Any, digest: Mapping[str, Any]) -> float:
    """Relative error of the l2 norm over all values (the sampled values could agree by luck).

    The files give the norm in 9 digits, so what that rounding explains is no error.
    """
    if "l2" not in digest or not digest["l2"]:
        return 0.0
    golden = float(digest["l2"])
    l2 = float(np.linalg.norm(_array(ours).astype(np.float64)))
    if math.isnan(golden):  # some values are undefined; the sampled ones say which
        return 0.0 if math.isnan(l2) else math.inf
    return max(0.0, abs(l2 - golden) / golden - _PRINTED_PRECISION)


def run_case(case: Case) -> Outcome:
    """Run one case through its adapter and compare every output.

    Gradients through many layers with kinks (ReLU, maximum) can depend on the order in which a processor's
    kernels sum more than on the tolerance. A case that misses it is run by other kernels, too. An output that
    these move by more than the tolerance, so that float32 leaves it open, passes if the nearer of both is
    within twice the tolerance; the detail says so.
    """
    function = ADAPTERS.get(f"{case.method}/{case.name}") or ADAPTERS.get(case.name)
    if function is None:
        return Outcome(case.name, "FAIL", None, "no adapter")
    detail = ""
    try:
        ours = function(case)
        errors = _errors(case, ours)
        missed = [name for name, error in errors.items() if not error <= case.tolerance]
        if missed:
            with torch.backends.mkldnn.flags(enabled=not torch.backends.mkldnn.enabled):
                again = function(Case(case.method, case.raw))
            others = _errors(case, again)
            for name in missed:
                spread = relative_error(ours[name], {"value": _array(again[name])})
                nearer = min(errors[name], others[name])
                if not (spread > case.tolerance and nearer <= 2 * case.tolerance):
                    return Outcome(case.name, "FAIL", errors[name], name)
                errors[name], detail = nearer, f", kernels alone move {name} by {spread:.0e}"
    except Unavailable as reason:
        return Outcome(case.name, "skip", None, str(reason))
    except _Unlike as problem:
        return Outcome(case.name, "FAIL", None, str(problem))
    except Exception as error:  # a crash of one case is that case's failure, reported as such
        return Outcome(case.name, "FAIL", None, f"{type(error).__name__}: {error}")
    where = max(errors, key=errors.__getitem__, default="")
    return Outcome(case.name, "pass", errors.get(where, 0.0), f"{where}{detail}")


class _Unlike(Exception):
    """An output is missing or of another kind or shape than the golden one."""


def _errors(case: Case, ours: Mapping[str, Any]) -> dict[str, float]:
    """The error of every output."""
    errors = {}
    for name, digest in case.outputs.items():
        if name not in ours:
            raise _Unlike(f"the adapter returned no output {name!r}")
        try:
            errors[name] = max(relative_error(ours[name], digest), moments_error(ours[name], digest))
        except ValueError as problem:
            raise _Unlike(f"{name}: {problem}") from problem
    return errors


def load_cases(path: Path) -> list[Case]:
    """The cases of a golden file.

    Raises:
        ValueError: the file is not a golden file.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or "cases" not in document:
        raise ValueError(f"{path} is not a golden file: it has no 'cases'")
    return [Case(str(document.get("method", path.stem)), raw) for raw in document["cases"]]
