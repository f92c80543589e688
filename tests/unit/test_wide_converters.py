"""Released checkpoints of the wide networks and their second stages: every tensor is placed, or named.

The names and shapes are those of the golden cases, which were made with the authors' code. Tensors hold one
number each and share its memory, so that networks of 124 million parameters cost nothing.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor

import methods.converters  # noqa: F401  fills CONVERTERS
from harness.conversion import CONVERTERS
from harness.errors import InputError
from harness.schema import Weights
from harness.stages.train import load_weights
from harness.weights import convert_file
from methods.eps.model import EPS
from methods.hsc.model import HSC
from methods.modules.deeplab_aspp import RESNET101S, DeepLabASPP, DeepLabLargeFOV
from methods.modules.wide_cam import WideCAM
from methods.seam.model import SEAM

GOLDEN = Path(__file__).parents[1] / "golden" / "hsc.json"
WIDE = {"type": "ResNet38"}
TRUNK_HEADS = ("fc8.", "f8_3.", "f8_4.", "f9.", "proj_fc.", "extra_F.")


@cache
def golden_shapes(name: str) -> dict[str, list[int]]:
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    return next(case["state"] for case in cases if case["name"] == name)


def shapes_of(layout: str) -> dict[str, list[int]]:
    """Names and shapes of a released file."""
    hsc = golden_shapes("network.forward")
    trunk = {name: shape for name, shape in hsc.items() if not name.startswith(TRUNK_HEADS)}
    return {
        "hsc": lambda: hsc,
        "eps": lambda: trunk | {"fc8.weight": [21, 4096, 1, 1]},
        "seam": lambda: {n: s for n, s in hsc.items() if not n.startswith(("proj_fc.", "extra_F."))},
        "wide_cam": lambda: golden_shapes("resnet38_cls.forward"),
        "deeplab_aspp": lambda: golden_shapes("seg.deeplabv2_resnet101"),
        "large_fov": lambda: golden_shapes("seg.deeplabv1_resnet101"),
        "large_fov_r38": lambda: golden_shapes("seg.deeplabv1_resnet38"),
        "resnet101s": lambda: (
            golden_shapes("seg.resnet101_stages") | {"fc.weight": [1000, 2048], "fc.bias": [1000]}
        ),
    }[layout]()


BUILD = {
    "hsc": lambda: HSC(20, WIDE),
    "eps": lambda: EPS(20, WIDE),
    "seam": lambda: SEAM(20, WIDE),
    "wide_cam": lambda: WideCAM(20, WIDE),
    "deeplab_aspp": lambda: DeepLabASPP(21, RESNET101S),
    "large_fov": lambda: DeepLabLargeFOV(21, RESNET101S),
    "large_fov_r38": lambda: DeepLabLargeFOV(21, WIDE),
    "resnet101s": lambda: MODELS.build(RESNET101S),
}
CONVERTER = {"large_fov": "deeplab_aspp", "large_fov_r38": "deeplab_aspp"}
UNSAVED = {"hsc": 6}  # banks


def released(layout: str, prefix: str = "") -> dict[str, Tensor]:
    """A file of this layout; its tensors hold 0, 1, 2, … in the file's order."""
    return {
        prefix + name: torch.tensor(float(index)).expand(shape)
        for index, (name, shape) in enumerate(shapes_of(layout).items())
    }


@pytest.mark.parametrize(
    ("layout", "prefix"), [*((layout, "") for layout in BUILD), ("hsc", "module."), ("large_fov", "module.")]
)
def test_a_released_file_fills_the_model(layout: str, prefix: str) -> None:
    theirs = released(layout, prefix)
    conversion = CONVERTERS[CONVERTER.get(layout, layout)](theirs)
    assert conversion.complete
    with torch.device("meta"):
        model = BUILD[layout]()
    missing, unexpected = model.load_state_dict(conversion.state, assign=True, strict=False)
    assert not unexpected
    assert len(missing) == UNSAVED.get(layout, 0)
    # Every value of the file is in the model once.
    values = sorted(float(tensor.flatten()[0]) for tensor in conversion.state.values())
    assert values == [float(i) for i in range(len(theirs) - len(conversion.dropped))]


@pytest.mark.parametrize("layout", BUILD)
def test_a_name_too_many_or_too_few_is_found(layout: str, tmp_path: Path) -> None:
    convert = CONVERTERS[CONVERTER.get(layout, layout)]
    theirs = released(layout)
    lost = next(name for name in theirs if "b5.conv" in name or "layer3.4.conv2" in name)
    short = convert({name: tensor for name, tensor in theirs.items() if name != lost})
    assert len(short.missing) == 1
    assert short.unmapped == []
    long = convert({**theirs, "head.bias": torch.zeros(1)})
    assert (long.unmapped, long.missing) == (["head.bias"], [])
    torch.save({**theirs, "head.bias": torch.zeros(1)}, tmp_path / "long.pth")
    with pytest.raises(InputError, match=r"1 of its tensors are unknown \(head\.bias\); nothing was written"):
        convert_file(convert, tmp_path / "long.pth", tmp_path / "ours.pth")


@pytest.mark.parametrize("layout", ["hsc", "eps", "seam", "wide_cam", "deeplab_aspp"])
def test_a_tensor_of_another_shape_is_one_sentence(layout: str) -> None:
    theirs = released(layout)
    name = next(name for name in theirs if "b5.conv" in name or "layer3.4.conv2" in name)
    theirs[name] = torch.zeros(3, 3)
    with pytest.raises(InputError, match=rf"'{name}' of the checkpoint has shape \(3, 3\)"):
        CONVERTERS[layout](theirs)


def test_a_file_of_another_layout_does_not_pass() -> None:
    assert not CONVERTERS["eps"](released("hsc")).complete
    assert not CONVERTERS["hsc"](released("seam")).complete
    assert not CONVERTERS["seam"](released("eps")).complete


def test_hsc_starts_from_its_release_with_banks_of_its_own(tmp_path: Path) -> None:
    """The released network has no banks, which a config must allow."""
    with torch.device("meta"):
        model = HSC(20, WIDE)
    torch.save(released("hsc"), tmp_path / "HSC_eps_v2.pth")
    given = Weights(name="hsc-cam")
    with pytest.raises(InputError, match=r"6 tensors are missing \(bank_"):
        load_weights(model, tmp_path / "HSC_eps_v2.pth", given, "hsc")
    load_weights(
        model, tmp_path / "HSC_eps_v2.pth", given.model_copy(update={"allow_missing": ["bank_"]}), "hsc"
    )
