# The embedded toy dataset: 10 classes and background.
dataset = dict(name="shapes", num_classes=10)
