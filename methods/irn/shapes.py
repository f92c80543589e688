# IRNet on shapes: CAM, IRNet's pseudo masks, a small DeepLab v2.
_base_ = ["../_base_/pipelines/irn_deeplabv2_shapes.py", "../_base_/classifiers/cam_r18_shapes.py"]
title = "IRNet"
custom_imports = ["methods.cam", "methods.irn", "methods.modules"]

stages = dict(cam=_base_.cam_train, cam_scores=_base_.cam_infer, seeds=_base_.cam_seeds)
