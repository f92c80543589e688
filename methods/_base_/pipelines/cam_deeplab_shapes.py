# The pipeline of cam_deeplab_voc.py on shapes: the same stages, a narrow network, short trainings.
_base_ = ["../datasets/shapes.py", "../segmentors/deeplab_aspp_r38_shapes.py"]

stages = dict(
    pseudo=dict(
        type="refine",
        split="train",
        scores="cam_scores",
        refiner=dict(type="CAMThreshold", background=0.3),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=_base_.seg_train,
    seg_masks=_base_.seg_masks,
    seg_eval=dict(type="evaluate", split="val", masks="seg_masks", number="seg"),
    seg_crf=_base_.seg_crf,
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
