"""The authors' IRNet checkpoints in our layout (spec B.12)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from harness.conversion import Conversion
from methods.irn.model import IRNet
from methods.modules.conversion import account, expected_state, split_aliases, strip_module_prefix
from methods.modules.resnet import infer_depth

ALIASES = (
    *(f"stage{number}." for number in range(1, 6)),
    "backbone.",
    "edge_layers.",
    "dp_layers.",
    "fc_dp7.4.",
)
GEOMETRY = ("path_indices", "disp_target")
RENAMES = {
    "resnet50": "backbone",
    **{
        f"fc_{theirs}{level + 1}.{index}": f"{branch}.levels.{level}.{layer}"
        for theirs, branch in (("edge", "edge_branch"), ("dp", "displacement_branch"))
        for level in range(5)
        for index, layer in enumerate(("conv", "norm"))
    },
    "fc_edge6": "edge_branch.classifier",
    "fc_dp6.0": "displacement_branch.fuse_deep.conv",
    "fc_dp6.1": "displacement_branch.fuse_deep.norm",
    "fc_dp7.0": "displacement_branch.fuse_all.conv",
    "fc_dp7.1": "displacement_branch.fuse_all.norm",
    "fc_dp7.3": "displacement_branch.regressor",
    "mean_shift.running_mean": "mean_shift",
}


def convert_authors(state: Mapping[str, Tensor]) -> Conversion:
    """Map a released IRNet checkpoint onto `IRNet` with a ResNet-50.

    Raises:
        InputError: the depth cannot be told, a shape is wrong, or a copy differs from the tensor that it
            should equal.
    """
    stripped = strip_module_prefix(state)
    geometry = {
        name: "search geometry, which our model computes" for name in stripped if name.startswith(GEOMETRY)
    }
    learned = {name: tensor for name, tensor in stripped.items() if name not in geometry}
    first, copies = split_aliases(learned, ALIASES)
    backbone = {"type": "StageResNet", "depth": infer_depth(first)}
    expected = expected_state(lambda: IRNet(num_classes=21, backbone=backbone))
    return account(first, RENAMES, expected, {**geometry, **copies})
