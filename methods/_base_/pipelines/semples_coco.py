# SemPLeS on COCO 2014 up to pseudo masks: 90 channels, one per category id. Images for the choice of epochs
# are spread evenly over train; the release has a list of 1,250.
_base_ = "./semples_voc.py"
dataset = dict(name="coco", num_classes=80)

network = dict(num_classes=80, channels="coco90", reduction=4, pooling="avg")

stages = dict(
    # As the documentation that SemPLeS ships trains WeakTr: weaktr/coco_2023.py.
    weaktr=dict(
        split="train",
        model=dict(num_classes=80, channels="coco90", reduction=4, pooling="avg"),
        optim_wrapper=dict(optimizer=dict(lr=6.25e-5, weight_decay=0.05)),
        validation=dict(images=1250),
    ),
    match=dict(
        split="train",
        model=dict(network=network, texts="coco90", back_weight=0.75),
        train_dataloader=dict(batch_size=32),
        optim_wrapper=dict(optimizer=dict(lr=3.2e-7)),
        validation=dict(images=1250),
    ),
    prompts=dict(
        split="train",
        model=dict(network=network, texts="coco90", text_weight=0.01),
        optim_wrapper=dict(optimizer=dict(lr=2.5e-3)),
    ),
    cam=dict(
        split="train",
        model=dict(network=network, texts="coco90", back_weight=0.75, refine_weight=0.2),
        train_dataloader=dict(batch_size=24),
        optim_wrapper=dict(optimizer=dict(lr=2.4e-7)),
        validation=dict(images=1250),
    ),
    cam_scores=dict(split="train", inference=dict(scales=(1.0, 0.8, 1.2))),
    seeds=dict(threshold=0.42),
    pseudo=dict(
        split="train",
        refiner=dict(background=0.42, crf=dict(gaussian_sxy=3, bilateral_sxy=50, bilateral_compat=10)),
    ),
)
