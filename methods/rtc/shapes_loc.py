# RTC's refined CAMs on shapes as localisation, on the images of one class. The paper's extension to it is not
# released; the training here is that of shapes.py.
_base_ = ["shapes.py", "../_base_/pipelines/localization_shapes.py"]
title = "RTC, localisation"

stages = dict(loc_scores=_base_.loc_scores, loc=_base_.loc_eval)
