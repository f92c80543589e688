"""Which arguments a component of a config may be given, by `--set` too."""

from __future__ import annotations

from harness.components import component_arguments
from harness.config import find_config, load_config, parse_override
from harness.schema import TrainStage


def test_arguments_of_the_classes_above_count_where_a_constructor_hands_them_on() -> None:
    assert {"base_channels", "depth", "stem_channels"} <= (
        component_arguments("mmseg.ResNetV1c", []) or set()
    )
    arguments = component_arguments("HSC", ["methods.hsc"])
    assert arguments is not None
    assert "view_size" in arguments
    assert not arguments & {"self", "init_cfg", "kwargs"}  # of BaseModel, which HSC does not hand on to


def test_an_address_of_a_python_object_is_no_component() -> None:
    assert component_arguments("os.system", []) is None
    assert component_arguments("mmseg.apis.init_model", []) is None


def test_a_backbone_of_mmsegmentation_can_be_made_narrow() -> None:
    override = parse_override("stages.seg.model.backbone.base_channels=8")
    stage = load_config(find_config("hsc", "voc"), [override]).stages["seg"]
    assert isinstance(stage, TrainStage)
    assert stage.model["backbone"]["base_channels"] == 8
