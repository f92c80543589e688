"""The modules of methods, and the arguments of the components that configs name by `type`."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Sequence
from typing import Any

# A registry takes other names as addresses of Python objects, and imports what they are in.
_NAME = re.compile(r"(?:(?:mmengine|mmcv|mmseg)\.)?[A-Za-z_]\w*")


def component_arguments(type_name: Any, custom_imports: Sequence[str]) -> set[str] | None:
    """Names of the arguments that a component's constructor takes, whether or not a config gives them.

    None where no registry knows the component. Imports the method's modules, and with them torch.
    """
    import_modules(custom_imports)
    named = isinstance(type_name, str) and _NAME.fullmatch(type_name)
    found = _component(type_name) if named else None
    return None if found is None else _arguments(found)


def _arguments(component: Any) -> set[str]:
    """Names of the arguments of a class or function; through `**kwargs`, those of the classes above, too."""
    if not inspect.isclass(component):
        return set(inspect.signature(component).parameters)
    names: set[str] = set()
    for level in inspect.getmro(component):
        if "__init__" not in vars(level):
            continue
        _, *parameters = inspect.signature(vars(level)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def import_modules(names: Sequence[str]) -> None:
    """Import modules of methods, which register their components."""
    # mmcv warns of a compiled operator that is not there, now or at the first build; nothing here uses it.
    warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")
    for name in names:
        importlib.import_module(name)


def _component(type_name: str) -> Any:
    from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
    from mmseg.registry import MODELS, TRANSFORMS

    from harness import schedules  # noqa: F401  registers them, as the next does
    from harness.data import transforms  # noqa: F401
    from harness.registry import INFERENCES, REFINERS

    registries = (MODELS, TRANSFORMS, INFERENCES, REFINERS, OPTIMIZERS, PARAM_SCHEDULERS)
    return next((component for registry in registries if (component := registry.get(type_name))), None)
