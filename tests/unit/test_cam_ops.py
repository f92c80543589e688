"""Fusion of activation maps: flips, scales, class selection, normalisation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from harness.ops.cam import cam_scores, divide_by_maximum, fuse_flips, fuse_scales


def maps_of(batch: int, classes: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(batch, classes, h, w, generator=generator) for h, w in ((5, 7), (3, 4), (10, 13))]


@pytest.mark.parametrize("how", ["max", "sum"])
def test_mirror_is_turned_back_before_the_fusion(how):
    cam = torch.rand(2, 4, 5, 7)
    pair = torch.stack([cam, cam.flip(-1)], dim=1)
    torch.testing.assert_close(fuse_flips(pair, how), cam if how == "max" else 2 * cam)


def test_padded_high_res_is_resized_to_a_multiple_of_16_and_cut():
    (cam,) = maps_of(1, 3)[0]
    quarter, full = fuse_scales(
        [torch.stack([cam[0], cam[1]])] if cam.dim() == 3 else [cam], (75, 101), "pad16"
    )
    expected = F.interpolate(cam[None, :2], size=(80, 112), mode="bilinear", align_corners=False)[
        0, :, :75, :101
    ]
    torch.testing.assert_close(full, expected)
    assert quarter.shape == (2, 19, 26)


def test_direct_high_res_has_the_image_size():
    cam = maps_of(1, 3)[0][0]
    _, full = fuse_scales([cam], (75, 101), "direct")
    torch.testing.assert_close(
        full, F.interpolate(cam[None], size=(75, 101), mode="bilinear", align_corners=False)[0]
    )


def test_maximum_of_each_class_becomes_one():
    cam = torch.stack([torch.rand(4, 5) * 7, torch.zeros(4, 5)])
    scaled = divide_by_maximum(cam)
    torch.testing.assert_close(scaled.amax(dim=(1, 2)), torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)


def test_batch_equals_images_one_by_one_with_only_their_classes():
    maps = maps_of(3, 4)
    labels = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.float32)
    batch = cam_scores(maps, labels, (75, 101), "direct")
    assert [scores.keys.tolist() for scores in batch] == [[1, 3], [], [0, 1, 2]]
    assert batch[1].cam.shape == (0, 19, 26)
    assert batch[1].high_res.shape == (0, 75, 101)
    for n in (0, 2):
        quarter, full = fuse_scales([scale_map[n] for scale_map in maps], (75, 101), "direct")
        torch.testing.assert_close(batch[n].cam, divide_by_maximum(quarter[batch[n].keys]))
        torch.testing.assert_close(batch[n].high_res, divide_by_maximum(full[batch[n].keys]))


def test_batch_without_any_class():
    (scores,) = cam_scores(maps_of(1, 4), torch.zeros(1, 4), (75, 101), "pad16")
    assert scores.keys.shape == (0,)
    assert scores.high_res.shape == (0, 75, 101)
