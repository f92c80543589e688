from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from harness.errors import InputError
from harness.registry import REFINERS
from methods.irn import IRLabel, IRNet, IRNRandomWalk
from methods.irn.convert import RENAMES, convert_authors
from methods.irn.losses import irnet_losses
from methods.irn.refine import combine, confident_label, edge_map, padded_size, semantic_label
from methods.modules import pair_losses

BACKBONE = {"type": "StageResNet", "depth": 18, "base_channels": 16}
NO_KEYS = np.zeros(0, dtype=np.int64)


@pytest.fixture
def model() -> IRNet:
    torch.manual_seed(1)
    return IRNet(num_classes=9, backbone=BACKBONE, radius=5, displacement_width=64)


def samples(labels: torch.Tensor) -> list[SegDataSample]:
    return [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]


def test_small_backbone_gives_maps_at_stride_4(model: IRNet) -> None:
    output = model(torch.rand(2, 3, 101, 77), mode="tensor")
    assert output["edge_logit"].shape == (2, 1, 26, 20)
    assert output["displacement"].shape == (2, 2, 26, 20)


def test_training_moves_the_branches_and_nothing_of_the_backbone(model: IRNet) -> None:
    model.train()
    assert not model.backbone.training
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trainable, lr=0.1, weight_decay=1e-4)
    labels = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(2))
    terms = model(torch.rand(2, 3, 64, 64), samples(labels), mode="loss")
    total, _ = model.parse_losses(terms)
    torch.testing.assert_close(total, terms["loss_affinity"] + terms["loss_displacement"])
    total.backward()
    optimiser.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name, _ in model.named_parameters() if "branch" in name}


def test_batch_without_a_pair_has_a_finite_loss(model: IRNet) -> None:
    terms = model.train()(torch.rand(1, 3, 64, 64), samples(torch.full((1, 16, 16), 255)), mode="loss")
    assert all(value.item() == 0 for value in terms.values())


def test_labels_at_image_size_are_refused(model: IRNet) -> None:
    with pytest.raises(ValueError, match=r"labels are \(64, 64\), maps at stride 4 \(16, 16\)"):
        model(torch.rand(1, 3, 64, 64), samples(torch.zeros(1, 64, 64, dtype=torch.int64)), mode="loss")


def test_loss_over_two_devices_equals_the_loss_over_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(7)
    edge, displacement = torch.randn(4, 1, 16, 16, generator=generator), torch.randn(4, 2, 16, 16)
    label = torch.tensor([0, 0, 3, 255])[torch.randint(4, (4, 16, 16), generator=generator)]
    label[2:] = 0  # the second device has no foreground
    whole = irnet_losses(edge, displacement, label, radius=4, num_classes=9)

    counts: list[float] = []
    monkeypatch.setattr(pair_losses, "all_reduce", lambda count: counts.append(count.item()))
    for part in (slice(0, 2), slice(2, 4)):
        irnet_losses(edge[part], displacement[part], label[part], radius=4, num_classes=9)
    summed = [first + second for first, second in zip(counts[:5], counts[5:])]
    monkeypatch.setattr(pair_losses, "get_world_size", lambda: 2)
    parts = []
    for part in (slice(0, 2), slice(2, 4)):
        pending = iter(summed)
        monkeypatch.setattr(
            pair_losses, "all_reduce", lambda count, pending=pending: count.fill_(next(pending))
        )
        parts.append(irnet_losses(edge[part], displacement[part], label[part], radius=4, num_classes=9))
    torch.testing.assert_close((parts[0].total + parts[1].total) / 2, whole.total)


def test_mean_shift_applies_in_evaluation_only(model: IRNet) -> None:
    image = torch.rand(1, 3, 64, 64)
    model.measure_mean_shift([image])
    assert model.eval()(image)["displacement"].mean((0, 2, 3)).abs().max() < 1e-5
    assert model.train()(image)["displacement"].mean((0, 2, 3)).abs().max() > 1e-5


def test_predict_attaches_edge_and_displacement(model: IRNet) -> None:
    (sample,) = model.eval()(torch.rand(1, 3, 64, 64), [SegDataSample()], mode="predict")
    assert sample.edge.data.shape == (1, 16, 16)
    assert 0 < sample.edge.data.min() <= sample.edge.data.max() < 1
    assert sample.displacement.data.shape == (2, 16, 16)


@pytest.mark.parametrize(
    ("size", "expected"), [((375, 500), (512, 512)), ((640, 480), (640, 512)), ((513, 100), (528, 512))]
)
def test_padding_never_crops(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert padded_size(size, 512) == expected


def test_edge_map_covers_images_larger_than_the_padding(model: IRNet) -> None:
    image = np.random.default_rng(3).integers(0, 256, (71, 50, 3), dtype=np.uint8)
    assert edge_map(model.eval(), image, pad_to=32).shape == (18, 13)


def test_combination_of_confident_maps() -> None:
    foreground = np.array([[2, 0, 0, 1]])
    background = np.array([[0, 0, 1, 1]])
    assert combine(foreground, background, np.array([4, 14])).tolist() == [[15, 0, 255, 5]]


def test_image_without_classes_is_all_background(model: IRNet) -> None:
    image = np.zeros((30, 40, 3), dtype=np.uint8)
    empty = np.zeros((0, 30, 40), dtype=np.float32)
    assert not confident_label(image, empty, NO_KEYS).any()
    mask = IRNRandomWalk()(image, {"keys": NO_KEYS, "cam": np.zeros((0, 8, 10), np.float32)}, model, "cpu")
    assert mask.shape == (30, 40)
    assert mask.dtype == np.uint8
    assert not mask.any()


def test_cam_of_zeros_becomes_background() -> None:
    mask = semantic_label(torch.zeros(1, 8, 10), torch.rand(8, 10), np.array([3]), (30, 40))
    assert not mask.any()


def test_random_walk_fills_the_object_up_to_its_edge() -> None:
    edge = torch.zeros(24, 24)
    edge[6, 6:18] = edge[17, 6:18] = edge[6:18, 6] = edge[6:18, 17] = 1
    cam = torch.zeros(1, 24, 24)
    cam[0, 8:16, 8:12] = 1  # half of the object
    mask = semantic_label(cam, edge, np.array([4]), (96, 96))
    assert (mask[32:64, 32:64] == 5).all()
    assert not mask[:20].any()


def test_refiners_are_built_from_configs(model: IRNet) -> None:
    label = REFINERS.build({"type": "IRLabel", "conf_fg": 0.4, "crf": {"iterations": 2}})
    walk = REFINERS.build({"type": "IRNRandomWalk", "exp_times": 4, "pad_to": 32})
    assert (label.kind, walk.kind) == ("cpu", "model")
    image = np.random.default_rng(4).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    keys, rng = np.array([1, 5]), np.random.default_rng(5)
    scores = {
        "keys": keys,
        "cam": rng.random((2, 8, 11), dtype=np.float32),
        "high_res": rng.random((2, 30, 41), dtype=np.float32),
    }
    confident = pickle.loads(pickle.dumps(label))(image, scores)
    assert confident.shape == (30, 41)
    assert set(np.unique(confident)) <= {0, 2, 6, 255}
    mask = walk(image, scores, model.eval(), torch.device("cpu"))
    assert mask.shape == (30, 41)
    assert set(np.unique(mask)) <= {0, 2, 6}


def test_unknown_crf_parameter_is_refused() -> None:
    with pytest.raises(InputError, match="bilateral_sxy"):
        IRLabel(crf={"bilateral_xy": 3})


def upstream_state() -> dict[str, torch.Tensor]:
    """A checkpoint in the released layout, aliases and geometry included, of IRNet with a ResNet-50."""
    state = {}
    torch.manual_seed(6)
    model = IRNet(21, {"type": "StageResNet", "depth": 50})
    for name, tensor in model.state_dict().items():
        theirs, ours = next(
            (theirs, ours) for theirs, ours in RENAMES.items() if name == ours or name.startswith(f"{ours}.")
        )
        state[theirs + name.removeprefix(ours)] = tensor
    state["stage1.0.weight"] = state["backbone.0.0.weight"] = state["resnet50.conv1.weight"]
    state["edge_layers.0.0.weight"] = state["fc_edge1.0.weight"]
    state["fc_dp7.4.running_mean"] = state["mean_shift.running_mean"]
    state["path_indices0"] = torch.zeros(2, 2, 9, dtype=torch.int64)
    state["disp_target"] = torch.zeros(1, 2, 152, 1)
    return {f"module.{name}": tensor for name, tensor in state.items()}


def test_authors_checkpoint_converts_with_an_account_of_every_name() -> None:
    theirs = upstream_state()
    conversion = convert_authors(theirs)
    assert conversion.complete
    assert len(conversion.state) + len(conversion.dropped) == len(theirs)
    assert conversion.dropped["path_indices0"] == "search geometry, which our model computes"
    assert {"edge_layers.0.0.weight", "fc_dp7.4.running_mean"} <= set(conversion.dropped)
    model = IRNet(21, {"type": "StageResNet", "depth": 50})
    model.load_state_dict(conversion.state)
    torch.testing.assert_close(model.edge_branch.classifier.bias, theirs["module.fc_edge6.bias"])


def test_conversion_reports_strange_and_missing_names_and_refuses_a_false_copy() -> None:
    theirs = upstream_state()
    theirs["module.fc_edge9.weight"] = theirs.pop("module.fc_edge6.weight")
    conversion = convert_authors(theirs)
    assert conversion.unmapped == ["fc_edge9.weight"]
    assert conversion.missing == ["edge_branch.classifier.weight"]
    theirs["module.stage1.0.weight"] = theirs["module.stage1.0.weight"] + 1
    with pytest.raises(InputError, match=r"stage1\.0\.weight"):
        convert_authors(theirs)
