# CAMs on shapes as localisation: boxes around what the class maps show, on the images with one class.
_base_ = ["shapes.py", "../_base_/pipelines/localization_shapes.py"]
title = "CAM, localisation"

stages = dict(loc_scores=_base_.loc_scores, loc=_base_.loc_eval)
