# MS COCO 2014, segmentation masks derived from its instances: 80 classes and background.
dataset = dict(name="coco", num_classes=80)
