# RTC (Wang, Zhang, Yan, arXiv 2309.00871), the single stage, on VOC 2012, as released.
# Published: 65.34 val, 66.90 test; with CRF 67.20 val, 68.76 test.
_base_ = ["../_base_/datasets/voc.py", "../_base_/classifiers/rtc_voc.py"]
title = "RTC"
custom_imports = ["methods.rtc", "methods.modules", "methods.converters"]

stages = dict(
    cam=_base_.rtc_train,
    cam_scores=_base_.rtc_cam_scores,
    seeds=_base_.rtc_seeds,
    seg_scores=dict(
        type="infer",
        split="val",
        checkpoint="cam",
        inference=dict(type="GatedScores", scales=(0.5, 1.0, 1.5, 2.0)),
    ),
    # The paper's number is the best of this sweep, chosen on val itself.
    seg_eval=dict(
        type="evaluate",
        split="val",
        scores="seg_scores",
        number="seg",
        threshold=0.17,
        sweep=_base_.rtc_sweep,
    ),
    seg_crf=dict(
        type="refine",
        split="val",
        checkpoint="cam",
        refiner=dict(type="GatedSegmentation", scales=(0.5, 1.0, 1.5, 2.0), background=0.17, crf={}),
    ),
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
