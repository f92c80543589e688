# What the CAM networks on the wide ResNet-38 share on VOC 2012 (SEAM, EPS, PPC, HSC, RTC).

wide_weights = dict(name="resnet38-imagenet", target="backbone")

# Momentum 5e-4: the release's poly-SGD class passes the weight decay in momentum's place.
wide_sgd = dict(type="SGD", lr=0.01, momentum=5e-4, weight_decay=5e-4)

wide_jitter = dict(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)

wide_infer = dict(
    type="infer",
    split="train_aug",
    checkpoint="cam",
    inference=dict(type="MultiScaleCAM", scales=(0.5, 1.0, 1.5, 2.0), flip_fusion="sum", high_res="direct"),
)
