# RTC's two-stage pipeline on VOC 2012: its masks of train_aug, with CRF, train DeepLab v2 on ResNet-101.
_base_ = [
    "../_base_/datasets/voc.py",
    "../_base_/classifiers/rtc_voc.py",
    "../_base_/segmentors/deeplab_aspp_r101s_voc.py",
]
title = "RTC, two stages, DeepLab v2"
custom_imports = ["methods.rtc", "methods.modules", "methods.converters"]

stages = dict(
    cam=_base_.rtc_train,
    cam_scores=_base_.rtc_cam_scores,
    seeds=_base_.rtc_seeds,
    # The release does not say whether it trained on masks with or without the CRF.
    pseudo=dict(
        type="refine",
        split="train_aug",
        checkpoint="cam",
        refiner=dict(type="GatedSegmentation", scales=(0.5, 1.0, 1.5, 2.0), background=0.17, crf={}),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=_base_.seg_train,
    seg_masks=_base_.seg_masks,
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=_base_.seg_crf,
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
