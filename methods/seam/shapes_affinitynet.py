# SEAM on shapes with the pseudo masks of the paper: AffinityNet and its random walk.
_base_ = ["shapes.py", "../_base_/pipelines/affinitynet_shapes.py"]
title = "SEAM, AffinityNet"

stages = dict(
    cam_crf=_base_.affinity_crf,
    affinity=_base_.affinity_train,
    pseudo=_base_.affinity_pseudo,
)
