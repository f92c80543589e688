"""The modules of methods, and the arguments of the components that configs name by `type`."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Sequence
from typing import Any


def component_arguments(type_name: Any, custom_imports: Sequence[str]) -> set[str] | None:
    """Names of the arguments that a component's constructor takes, whether or not a config gives them.

    None where no registry knows the component. Imports the method's modules, and with them torch.
    """
    import_modules(custom_imports)
    # A registry takes other names as addresses of Python objects, and imports what they are in.
    named = isinstance(type_name, str) and type_name.isidentifier()
    found = _component(type_name) if named else None
    return None if found is None else set(inspect.signature(found).parameters)


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
