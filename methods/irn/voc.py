# IRNet (Ahn, Cho, Kwak, CVPR 2019) on VOC 2012: CAM, then IRNet's pseudo masks, then DeepLab v2.
# Published: seed 48.3, pseudo masks 66.5 (train); 63.5 (val) with another DeepLab, on ResNet-50 with CRF.
_base_ = ["../_base_/pipelines/irn_deeplabv2_voc.py", "../_base_/classifiers/cam_r50_voc.py"]
title = "IRNet"
custom_imports = ["methods.cam", "methods.irn", "methods.modules", "methods.converters"]

stages = dict(cam=_base_.cam_train, cam_scores=_base_.cam_infer, seeds=_base_.cam_seeds)
