"""Arguments of the components that configs name by `type`."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Sequence
from typing import Any


def component_arguments(type_name: str, custom_imports: Sequence[str]) -> set[str] | None:
    """Names of the arguments that a component's constructor takes, whether or not a config gives them.

    None where no registry knows the component. Imports the method's modules, and with them torch.
    """
    with warnings.catch_warnings():
        # mmcv warns of compiled operators that are not there; nothing here uses one.
        warnings.simplefilter("ignore", UserWarning)
        found = _component(type_name, custom_imports)
    return None if found is None else set(inspect.signature(found).parameters)


def _component(type_name: str, custom_imports: Sequence[str]) -> Any:
    from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
    from mmseg.registry import MODELS, TRANSFORMS

    from harness.registry import INFERENCES, REFINERS

    for module in custom_imports:
        importlib.import_module(module)
    registries = (MODELS, TRANSFORMS, INFERENCES, REFINERS, OPTIMIZERS, PARAM_SCHEDULERS)
    return next((component for registry in registries if (component := registry.get(type_name))), None)
