# WeakTr on COCO 2014, a channel per category id. Published: seed 42.6 (train), segmentation 46.9 (val).
# Settings of the current documentation; those of the older one (lr 5e-4 per 512 images, decay 0.05, reduction
# 4, average pooling) are in coco_2023.py.
_base_ = "./voc.py"
title = "WeakTr"
dataset = dict(name="coco", num_classes=80)

stages = dict(
    cam=dict(
        split="train",
        model=dict(num_classes=80, channels="coco90"),
        optim_wrapper=dict(optimizer=dict(lr=2.5e-5)),  # 2e-4 per 512 images
        # Spread evenly over the split; the released list of 1,250 images is not part of the project.
        validation=dict(images=1250),
    ),
    cam_scores=dict(split="train", inference=dict(scales=(1.0, 0.8, 1.2))),
    seeds=dict(threshold=0.42),
    pseudo=dict(
        split="train",
        refiner=dict(background=0.42, crf=dict(gaussian_sxy=3, bilateral_sxy=50, bilateral_compat=10)),
    ),
    # 81 classes; the release trains 91, ten of which have no pixel.
    seg=dict(split="train", model=dict(num_classes=81)),
    # All of val2014 for 0.9 % more: the number is stated with and without the images that have no annotation.
    seg_masks=dict(split="val_all"),
    seg_crf=dict(
        split="val_all",
        refiner=dict(
            crf=dict(gaussian_sxy=1, bilateral_sxy=67, bilateral_srgb=3, bilateral_compat=4),
        ),
    ),
    seg_eval_all=dict(type="evaluate", split="val_all", masks="seg_masks", number="seg"),
    seg_crf_eval_all=dict(type="evaluate", split="val_all", masks="seg_crf", number="seg_crf"),
)
