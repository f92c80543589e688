# HSC with the other second stage of its code base: DeepLab v1's head on the wide ResNet-38.
_base_ = ["voc.py", "../_base_/segmentors/deeplab_largefov_r38_voc.py"]
title = "HSC, DeepLab v1 on ResNet-38"

stages = dict(seg=_base_.largefov_train)
