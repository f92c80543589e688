# RTC's own training on VOC 2012 and the evaluation of its CAMs, for its one- and two-stage pipelines.
_base_ = "wide_voc.py"

rtc_sweep = dict(start=0.0, stop=0.59, step=0.01)

rtc_train = dict(
    type="train",
    split="train_aug",
    labels="image",
    model=dict(
        type="RTC",
        num_classes=20,
        backbone=dict(type="ResNet38"),
        view_size=128,
        background_score=0.20,
        seg_from=7 * 1322,  # from the eighth epoch on; an epoch has 1,322 batches
        thresholds=dict(low=0.20, high=0.55),
    ),
    weights=_base_.wide_weights,
    transform=dict(type="BoxedLongSideCrop", long_side=(448, 768), crop=448, jitter=_base_.wide_jitter),
    train_dataloader=dict(batch_size=8),
    optim_wrapper=dict(
        optimizer=_base_.wide_sgd,
        paramwise_cfg=dict(
            custom_keys={
                "proj1": dict(lr_mult=10),
                "classifier1": dict(lr_mult=10),
                "refinement": dict(lr_mult=10),
                "segmentation": dict(lr_mult=10),
                "segmentation.conv1.bias": dict(lr_mult=20, decay_mult=0),
                "segmentation.conv2.bias": dict(lr_mult=20, decay_mult=0),
            }
        ),
    ),
    param_scheduler=dict(type="PolyLR", power=0.9),
    train_cfg=dict(max_epochs=25),  # of the run script; the command line's default is 8
)

rtc_cam_scores = dict(
    type="infer",
    split="train",
    checkpoint="cam",
    inference=dict(
        type="MultiScaleCAM",
        scales=(0.5, 1.0, 1.5, 2.0),
        flip_fusion="sum",
        high_res="direct",
        normalisation="min_max",
    ),
)

rtc_seeds = dict(
    type="evaluate", split="train", scores="cam_scores", number="seed", threshold=0.26, sweep=rtc_sweep
)
