# PASCAL VOC 2012 with the SBD annotations: 20 classes and background.
dataset = dict(
    name="voc",
    num_classes=20,
    labels="annotations",  # all objects of the XML files; "masks": the classes in SegmentationClassAug
)
