"""COCO's 90 channels and this project's 80 classes."""

from __future__ import annotations

import pytest
import torch

from harness.data.coco_classes import CLASSES, LABEL_OF_CATEGORY
from methods.modules.coco_channels import CHANNEL_OF_CLASS, ClassChannels

COCO = ClassChannels(80, "coco90")
EMPTY = [11, 25, 28, 29, 44, 65, 67, 68, 70, 82]  # category ids without objects, minus one


def test_every_class_has_the_channel_of_its_category_id():
    assert {
        CHANNEL_OF_CLASS[label - 1] + 1: label for label in LABEL_OF_CATEGORY.values()
    } == LABEL_OF_CATEGORY
    named = {CLASSES[label]: CHANNEL_OF_CLASS[label - 1] for label in range(1, 81)}
    assert (named["person"], named["stop sign"], named["toothbrush"]) == (0, 12, 89)


def test_labels_are_widened_and_maps_narrowed_back():
    labels = torch.eye(80)
    wide = COCO.widen(labels)
    assert wide.shape == (80, 90)
    assert not wide[:, EMPTY].any()
    assert torch.equal(COCO.narrow(wide), labels)


def test_maps_of_channels_without_a_class_are_left_out():
    maps = torch.arange(90.0)[None, :, None, None].expand(2, 90, 3, 4)
    narrow = COCO.narrow(maps)
    assert narrow.shape == (2, 80, 3, 4)
    assert not set(EMPTY) & set(narrow[0, :, 0, 0].int().tolist())


def test_other_datasets_have_a_channel_per_class():
    channels = ClassChannels(20)
    labels = torch.ones(1, 20)
    assert channels.count == 20
    assert channels.widen(labels) is labels
    assert channels.narrow(labels) is labels


def test_cocos_channels_are_refused_for_other_datasets():
    with pytest.raises(ValueError, match="COCO has 80 classes, not 20"):
        ClassChannels(20, "coco90")
