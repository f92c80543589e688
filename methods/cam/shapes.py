# CAM baseline on shapes.
_base_ = ["../_base_/datasets/shapes.py", "../_base_/classifiers/cam_r18_shapes.py"]
title = "CAM, ResNet-18"
custom_imports = ["methods.cam", "methods.modules"]

stages = dict(cam=_base_.cam_train, cam_scores=_base_.cam_infer, seeds=_base_.cam_seeds)
