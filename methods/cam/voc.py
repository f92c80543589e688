# CAM baseline (IRNet's classifier) on VOC 2012. Published: seed 48.3 mIoU on train.
_base_ = ["../_base_/datasets/voc.py", "../_base_/classifiers/cam_r50_voc.py"]
title = "CAM, ResNet-50"
custom_imports = ["methods.cam", "methods.modules", "methods.converters"]

stages = dict(cam=_base_.cam_train, cam_scores=_base_.cam_infer, seeds=_base_.cam_seeds)
