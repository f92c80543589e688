"""DeepLab v2: label resizing as Pillow does it, multi-scale maximum, what trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from methods.modules.deeplabv2 import CAFFE_R101, DeepLabV2, multi_scale_loss, resize_labels

SMALL = {
    "type": "StageResNet",
    "depth": 18,
    "base_channels": 8,
    "strides": (2, 2, 1, 1),
    "norm": "batch",
    "freeze_stem": False,
}


@pytest.mark.parametrize("size", [(321, 321), (81, 97), (100, 333), (65, 513)])
@pytest.mark.parametrize("new_size", [(41, 41), (11, 13), (50, 167), (81, 97), (200, 7)])
def test_labels_are_resized_as_pillow_does(size, new_size):
    # Values that name their position, so that one wrong source pixel shows.
    labels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    expected = np.asarray(Image.fromarray(labels).resize(new_size[::-1], Image.Resampling.NEAREST))
    ours = resize_labels(torch.from_numpy(labels)[None].long(), new_size)[0]
    assert np.array_equal(ours.numpy(), expected)


def test_every_axis_length_agrees_with_pillow():
    for size in range(200, 340, 3):
        ramp = np.arange(size, dtype=np.int32)[None]
        for new_size in (size // 8 + 1, size // 4, size - 1, 41):
            expected = np.asarray(Image.fromarray(ramp).resize((new_size, 1), Image.Resampling.NEAREST))[0]
            ours = resize_labels(torch.from_numpy(ramp)[None].long(), (1, new_size))[0, 0].numpy()
            assert np.array_equal(ours, expected), (size, new_size)


def sample(label: torch.Tensor) -> SegDataSample:
    result = SegDataSample()
    result.gt_sem_seg = PixelData(data=label[None])
    return result


def test_last_output_is_the_maximum_over_scales():
    torch.manual_seed(0)
    network = DeepLabV2(5, SMALL).eval()
    image = torch.randn(2, 3, 65, 81)
    with torch.no_grad():
        *parts, maximum = network.multi_scale_logits(image)
        assert len(parts) == 3
        assert all(part.shape == (2, 5, 9, 11) for part in parts)
        torch.testing.assert_close(maximum, torch.stack(parts).amax(dim=0))
        torch.testing.assert_close(network(image), maximum)


def test_loss_ignores_255_and_a_batch_without_labels_costs_nothing():
    logits = [torch.randn(2, 5, 9, 9, requires_grad=True) for _ in range(4)]
    labels = torch.full((2, 65, 65), 255)
    empty = multi_scale_loss(logits, labels)
    assert [part.item() for part in empty] == [0.0] * 4
    labels[0] = 3
    expected = torch.nn.functional.cross_entropy(logits[1][:1], torch.full((1, 9, 9), 3))
    torch.testing.assert_close(multi_scale_loss(logits, labels)[1], expected)


def test_small_network_learns_one_image():
    torch.manual_seed(0)
    network = DeepLabV2(3, SMALL, train_aspp_bias=True).train()
    image = torch.zeros(2, 3, 64, 64)
    image[..., 32:] = 1.0
    label = torch.zeros(64, 64, dtype=torch.int64)
    label[:, 32:] = 2
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        loss = network(image, [sample(label), sample(label)], mode="loss")["loss_seg"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_released_recipe_trains_convolution_weights_only():
    with torch.device("meta"):
        network = DeepLabV2(21, CAFFE_R101)
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert len(trained) == 108
    assert all(name.endswith("weight") and ".bn" not in name for name in trained)


def test_aspp_starts_from_small_weights_and_zero_biases():
    torch.manual_seed(0)
    network = DeepLabV2(21, SMALL)
    for convolution in network.aspp:
        assert convolution.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not convolution.bias.any()


def test_original_recipe_can_train_the_biases():
    assert all(c.bias.requires_grad for c in DeepLabV2(3, SMALL, train_aspp_bias=True).aspp)
    assert not any(c.bias.requires_grad for c in DeepLabV2(3, SMALL).aspp)
