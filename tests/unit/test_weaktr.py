"""WeakTr: gradient stops, switches, weights, schedule; its numbers are golden cases."""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import MODELS
from torch import Tensor

from harness.conversion import Conversion
from harness.errors import InputError
from harness.schedules import EpochCosineLR
from harness.schema import Weights
from harness.stages.train import load_weights
from methods import converters as _converters  # noqa: F401  registers them
from methods.weaktr.backbone import ClassTokenViT
from methods.weaktr.model import WeakTr, convert_authors, convert_deit
from methods.weaktr.network import AttentionFusion

SMALL = dict(image_size=32, patch_size=8, width=24, depth=2, heads=2, drop_path=0.0)
LABELS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def network(**settings) -> WeakTr:
    torch.manual_seed(0)
    model = WeakTr(3, dict(SMALL), reduction=2, **settings)
    with torch.no_grad():
        model.head.bias += 1.0  # maps that are not all 0 behind the ReLU
    return model


def images(side: int = 32) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def touched(model: WeakTr, loss: Tensor) -> set[str]:
    """First parts of the names of parameters that a loss gives gradients to."""
    model.zero_grad()
    loss.backward()
    return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_weaktrs_backbone_learns_from_the_coarse_score_and_its_refined_cam_teaches_the_fusion_alone():
    model = network()
    scores = model.scores(images())
    assert touched(model, scores["coarse"].sum()) == {"backbone", "head"}
    assert touched(model, model.scores(images())["fine"].sum()) == {"fusion"}
    assert touched(model, model.scores(images())["cls"].sum()) == {"backbone"}


def test_a_frozen_backbone_gets_no_gradient_and_the_head_learns_from_the_refined_cam():
    model = network(frozen=True)
    assert touched(model, model.scores(images())["fine"].sum()) == {"fusion", "head"}


def test_freezing_changes_no_value():
    torch.testing.assert_close(network(frozen=True)(images()), network()(images()), rtol=0, atol=0)


def test_sources_of_the_cam_differ_as_their_names_say():
    maps = {
        source: (model := network(source=source)).cams(model.features(images()))
        for source in ("fused", "patchcam", "attention")
    }
    torch.testing.assert_close(maps["fused"].maps, maps["patchcam"].maps * maps["attention"].maps)
    torch.testing.assert_close(maps["patchcam"].maps, maps["patchcam"].logits.relu())


def test_pooling_of_the_fusion_is_switched():
    branch = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])  # two tokens, two channels
    pooled = {
        pooling: AttentionFusion(2, 1, 2, reduction=1, pooling=pooling).pool_branch(branch).flatten().tolist()
        for pooling in ("max", "avg")
    }
    assert pooled == {"max": [3, 2], "avg": [2, -1]}


def test_heads_of_the_fusion_take_interleaved_channels():
    fusion = AttentionFusion(heads=2, depth=1, width=6, reduction=1, pooling="avg")
    pooled = fusion.pool_branch(torch.arange(6.0)[None, None])
    assert pooled[0].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_the_fusion_equals_the_mean_of_all_weighted_maps():
    model = network()
    features = model.features(images())
    maps = torch.stack(features.attention, dim=2).flatten(1, 2)  # head-major
    weights = model.fusion.weights(features.pooled)
    expected = (weights[:, :, None, None] * maps).mean(1)
    torch.testing.assert_close(model.fusion(features.pooled, features.attention), expected)


def test_an_images_rest_that_fills_no_patch_is_not_seen():
    model, whole = network(), images(44)
    changed = whole.clone()
    changed[..., 40:, :] = changed[..., 40:] = 7.0
    assert model(whole).shape == (2, 3, 5, 5)
    torch.testing.assert_close(model(whole), model(changed), rtol=0, atol=0)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_both_stems_make_the_same_grid(stem):
    backbone = ClassTokenViT(3, **SMALL, stem=stem)
    classes, patches = backbone(torch.randn(1, 3, 37, 50))
    assert (classes.shape, patches.shape) == ((1, 3, 24), (1, 24, 4, 6))


def test_the_fast_forward_and_the_one_that_keeps_attention_agree():
    model = network().eval()
    classes, patches = model.backbone(images())
    features = model.features(images())
    torch.testing.assert_close(features.classes, classes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features.patches, patches, rtol=1e-5, atol=1e-5)


def test_stochastic_depth_is_active_in_training_on_a_frozen_backbone_too():
    torch.manual_seed(0)
    model = WeakTr(3, SMALL | {"drop_path": 0.9}, reduction=2, frozen=True)
    assert not torch.equal(model.train()(images()), model(images()))
    assert torch.equal(model.eval()(images()), model(images()))


def test_norms_of_a_frozen_backbone_keep_their_statistics():
    moved = {}
    for frozen in (False, True):
        model = WeakTr(3, SMALL | {"stem": "conv"}, reduction=2, frozen=frozen).train()
        before = model.backbone.patch_embed[1].running_mean.clone()
        model(images())
        moved[frozen] = not torch.equal(model.backbone.patch_embed[1].running_mean, before)
    assert moved == {False: True, True: False}


def test_mimetic_weights_attend_to_alike_patches_from_the_start():
    drawn = {}
    for mimetic in (False, True):
        torch.manual_seed(0)
        model = WeakTr(3, SMALL | {"mimetic": mimetic}, reduction=2)
        affinity = model.cams(model.features(images())).affinity
        own = affinity.detach().diagonal(dim1=1, dim2=2).mean()
        drawn[mimetic] = float(own / affinity.detach().mean())
    assert drawn[False] < 1.5
    assert drawn[True] > 3


def deit_state() -> dict[str, Tensor]:
    """A checkpoint in DeiT-S's layout, its values small integers by position."""
    with torch.device("meta"):
        shapes = {
            name: tensor.shape for name, tensor in ClassTokenViT(1, final_norm=True).state_dict().items()
        }
    state = {
        name.replace("patch_embed.", "patch_embed.proj."): torch.ones(shape) for name, shape in shapes.items()
    }
    state["cls_token"] = torch.full((1, 1, 384), 2.0)
    state["pos_embed"] = torch.cat([torch.full((1, 1, 384), 3.0), torch.full((1, 196, 384), 4.0)], dim=1)
    return state | {"head.weight": torch.ones(1000, 384), "head.bias": torch.ones(1000)}


@pytest.fixture
def deit(tmp_path):
    path = tmp_path / "deit.pth"
    torch.save({"model": deit_state()}, path)
    return path


def test_deit_fills_the_class_tokens_of_all_classes(deit):
    model = WeakTr(5)
    load_weights(model, deit, Weights(name="deit", target="backbone"), "weaktr_deit")
    assert (model.backbone.cls_token == 2).all()
    assert model.backbone.cls_token.shape == (1, 5, 384)
    assert (model.backbone.pos_embed[:, :5] == 3).all()
    assert (model.backbone.pos_embed[:, 5:] == 4).all()


def test_a_file_that_was_converted_before_loads_too(deit, tmp_path):
    torch.save(convert_deit(deit_state()).state, tmp_path / "converted.pth")
    model = WeakTr(5)
    load_weights(model, tmp_path / "converted.pth", Weights(name="deit", target="backbone"), "weaktr_deit")
    assert (model.backbone.cls_token == 2).all()


def test_deits_positions_are_stretched_for_a_larger_crop(deit):
    backbone = ClassTokenViT(1, image_size=480, final_norm=True)
    load_weights(backbone, deit, Weights(name="deit"), "weaktr_deit")
    assert backbone.pos_embed.shape == (1, 1 + 30 * 30, 384)
    torch.testing.assert_close(backbone.pos_embed[:, 1:].mean(), torch.tensor(4.0))
    assert (backbone.norm.weight == 1).all()


def authors_state(channels: int, reduction: int) -> dict[str, Tensor]:
    backbone = {name: tensor for name, tensor in deit_state().items() if not name.startswith("head.")}
    backbone["cls_token"] = torch.zeros(1, channels, 384)
    backbone["pos_embed"] = torch.zeros(1, channels + 196, 384)
    fusion = AttentionFusion(6, 12, 384, reduction=reduction, pooling="max").state_dict()
    theirs = {"feature_ffn": "attn_feat_ffn", "map_ffn": "attn_head_ffn"}
    for name, tensor in fusion.items():
        part, rest = name.split(".", 1)
        backbone[f"adaptive_attention_fusion.{theirs[part]}.{rest}"] = tensor
    return backbone | {"head.weight": torch.zeros(channels, 384, 3, 3), "head.bias": torch.zeros(channels)}


@pytest.mark.parametrize(("channels", "reduction"), [(20, 8), (90, 8), (90, 4)])
def test_released_checkpoints_of_either_reduction_load_and_account_for_every_tensor(channels, reduction):
    conversion: Conversion = convert_authors(authors_state(channels, reduction))
    assert conversion.complete
    assert sorted(conversion.dropped) == ["norm.bias", "norm.weight"]
    settings = dict(channels="coco90") if channels == 90 else {}
    with torch.device("meta"):
        model = WeakTr(80 if channels == 90 else channels, reduction=reduction, **settings)
    model.load_state_dict(conversion.state, assign=True)


def test_a_checkpoint_with_a_foreign_tensor_or_without_one_is_not_complete():
    state = authors_state(20, 8) | {"decoder.weight": torch.zeros(1)}
    del state["head.bias"]
    conversion = convert_authors(state)
    assert (conversion.unmapped, conversion.missing) == (["decoder.weight"], ["head.bias"])


def test_a_tensor_of_another_width_is_refused():
    with pytest.raises(InputError, match="cls_token"):
        convert_deit(deit_state() | {"cls_token": torch.zeros(1, 1, 192)})


def rates(**settings) -> list[float]:
    """The rate of each of 4 epochs of 2 iterations at a base rate of 1."""
    optimizer = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))
    scheduler = EpochCosineLR(optimizer, epochs=4, per_epoch=2, by_epoch=False, **settings)
    found = []
    for _ in range(8):
        found.append(optimizer.get_lr()["lr"][0])
        optimizer.step()
        scheduler.step()
    assert found[::2] == found[1::2]
    return found[::2]


def test_the_schedule_lags_an_epoch_behind_unless_told_otherwise():
    assert rates() == pytest.approx([1, 1, 0.8535534, 0.5])
    assert rates(late=0) == pytest.approx([1, 0.8535534, 0.5, 0.1464466])


def test_the_warm_up_is_part_of_the_cosine():
    assert rates(warmup_epochs=2, warmup_lr=0.2, late=0) == pytest.approx([0.2, 0.6, 0.5, 0.1464466])


def test_models_of_the_method_are_found_by_their_names():
    assert isinstance(MODELS.build({"type": "WeakTr", "num_classes": 3, "backbone": SMALL}), WeakTr)
