# What ToCo and MCC change on COCO 2014: twice the images per step, four times the steps, another rule by
# which the predictions of scales and mirror images are joined.

coco_train = dict(
    split="train",
    train_dataloader=dict(batch_size=8),
    param_scheduler=dict(max_steps=80000),
    train_cfg=dict(max_iters=80000),
    validation=dict(
        split="val_part",
        interval=4000,
        outputs=dict(cam=dict(threshold=0.45), aux_cam=dict(threshold=0.45)),
    ),
)

coco_stages = dict(
    seeds=dict(threshold=0.45),
    # The publications' number without CRF is that of the first 5,000 images of val.
    seg_part_eval=dict(type="evaluate", split="val_part", scores="seg_scores", number="seg"),
    seg_crf=dict(
        refiner=dict(scales=(1.0, 1.25, 1.5), flips="max", over_scales="sum", square=448),
    ),
)
