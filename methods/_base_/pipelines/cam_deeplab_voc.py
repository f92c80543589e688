# CAMs → pseudo masks by a threshold → DeepLab → multi-scale test with CRF, on VOC 2012: HSC and EPS.
_base_ = ["../datasets/voc.py", "../segmentors/deeplab_aspp_r101s_voc.py"]

stages = dict(
    pseudo=dict(
        type="refine",
        split="train_aug",
        scores="cam_scores",
        refiner=dict(type="CAMThreshold", background=0.22),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=_base_.seg_train,
    seg_masks=_base_.seg_masks,
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=_base_.seg_crf,
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
