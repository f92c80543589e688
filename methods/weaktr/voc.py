# WeakTr (Zhu et al., arXiv 2304.01184) on VOC 2012, DeiT-S. Published: seed 69.4 (train), final 74.0 (val)
_base_ = [
    "../_base_/datasets/voc.py",
    "../_base_/classifiers/weaktr_voc.py",
    "../_base_/segmentors/segmenter_deit_s_voc.py",
]
title = "WeakTr"
custom_imports = ["methods.weaktr", "methods.converters", "harness.data.mm_pipeline"]

stages = dict(
    cam=_base_.weaktr_train,
    cam_scores=_base_.weaktr_infer,
    seeds=_base_.weaktr_seeds,
    pseudo=dict(
        type="refine",
        split="train_aug",
        scores="cam_scores",
        refiner=dict(type="CAMLabelCRF", background=0.43),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=_base_.segmenter_train,
    seg_masks=_base_.segmenter_masks,
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=_base_.segmenter_crf,
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
