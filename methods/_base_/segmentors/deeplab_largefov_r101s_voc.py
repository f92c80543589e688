# The second stage of PPC on EPS: DeepLab v1's head on the deep-stem ResNet-101. It replaces the network of
# deeplab_aspp_r101s_voc.py; the training is the same.

largefov_r101s_train = dict(
    model=dict(
        _delete_=True,
        type="DeepLabLargeFOV",
        num_classes=21,
        backbone=dict(
            type="mmseg.ResNetV1c",
            depth=101,
            stem_channels=128,
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            contract_dilation=True,
            norm_cfg=dict(type="BN", requires_grad=False),
        ),
        momentum=0.0003,
    ),
)
