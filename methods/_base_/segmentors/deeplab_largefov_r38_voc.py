# The second stage of SEAM and, as an option, of PPC, HSC and RTC: DeepLab v1's head on the wide ResNet-38. It
# replaces the network of deeplab_aspp_r101s_voc.py; the training is the same.

largefov_train = dict(
    model=dict(
        _delete_=True,
        type="DeepLabLargeFOV",
        num_classes=21,
        # The released trainer never calls train(), so the freezing that the network brings never happens.
        backbone=dict(type="ResNet38", norm="batch", bn_momentum=0.0003, frozen_stages=0),
        momentum=0.0003,
    ),
    weights=dict(name="resnet38-imagenet", target="backbone"),
)
