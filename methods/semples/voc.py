# SemPLeS (Lin et al., WACV 2025) on VOC 2012. Published: seed 68.7 (train), segmentation 83.4 (val) with
# Mask2Former on Swin-L, which is voc_mask2former.py; here DeepLab as for the other methods.
_base_ = [
    "../_base_/datasets/voc.py",
    "../_base_/classifiers/semples_voc.py",
    "../_base_/segmentors/deeplab_aspp_r101s_voc.py",
]
title = "SemPLeS"
custom_imports = ["methods.semples", "methods.weaktr", "methods.modules", "methods.converters"]

stages = dict(
    weaktr=_base_.weaktr_train,
    match=_base_.semples_match,
    prompts=_base_.semples_prompts,
    cam=_base_.semples_cam,
    cam_scores=_base_.weaktr_infer,
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        sweep=dict(start=0.40, stop=0.59, step=0.01, stop_at_drop=True),
    ),
    # Without object masks; with them, see the README.
    pseudo=dict(
        type="refine",
        split="train_aug",
        scores="cam_scores",
        refiner=dict(type="CAMLabelCRF", background=0.43),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=_base_.seg_train,
    seg_masks=_base_.seg_masks,
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=_base_.seg_crf,
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
