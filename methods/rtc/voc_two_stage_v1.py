# RTC's two-stage pipeline with DeepLab v1's head on the wide ResNet-38.
_base_ = ["voc_two_stage.py", "../_base_/segmentors/deeplab_largefov_r38_voc.py"]
title = "RTC, two stages, DeepLab v1"

stages = dict(seg=_base_.largefov_train)
