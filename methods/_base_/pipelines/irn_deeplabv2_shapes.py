# The pipeline of irn_deeplabv2_voc.py on shapes: the same stages, small networks, short trainings.
_base_ = ["../datasets/shapes.py", "../segmentors/deeplabv2_r18_shapes.py"]

stages = dict(
    ir_label=dict(
        type="refine",
        split="train",
        scores="cam_scores",
        refiner=dict(type="IRLabel", conf_fg=0.30, conf_bg=0.15),
    ),
    irn=dict(
        type="train",
        split="train",
        labels="ir_label",
        model=dict(
            type="IRNet",
            num_classes=11,
            radius=5,
            edge_width=32,
            displacement_width=64,
            backbone=dict(type="StageResNet", depth=18, base_channels=32, strides=(2, 2, 2, 1), norm="batch"),
        ),
        init=dict(stage="cam", source="backbone.", target="backbone"),
        transform=dict(type="RandomScaleCrop", scale=(0.75, 1.25), crop=112),
        train_dataloader=dict(batch_size=16),
        optim_wrapper=dict(
            # 200 iterations are too few for the release's momentum of 1e-4.
            optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4),
        ),
        param_scheduler=dict(type="PolyLR", power=0.9),
        train_cfg=dict(max_iters=200),
    ),
    pseudo=dict(
        type="refine",
        split="train",
        scores="cam_scores",
        checkpoint="irn",
        refiner=dict(type="IRNRandomWalk", beta=10, exp_times=5, radius=5, background=0.3, pad_to=160),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
    seg=_base_.seg_train,
    seg_scores=_base_.seg_infer,
    seg_eval=dict(type="evaluate", split="val", scores="seg_scores", number="seg"),
    seg_crf=dict(type="refine", split="val", scores="seg_scores", refiner=dict(type="DenseCRF")),
    seg_crf_eval=dict(type="evaluate", split="val", masks="seg_crf", number="seg_crf"),
)
