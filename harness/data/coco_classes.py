"""The 80 classes of MS COCO 2014 and the category ids that its annotation files use for them.

Source: T.-Y. Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; ids and names are those of
`instances_{train,val}2014.json`.
"""

from __future__ import annotations

CLASSES = (
    "background", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
    "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie",
    "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon",
    "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut",
    "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse",
    "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

# The paper names 90 categories; these ten have no object in the released annotations.
_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_USED_IDS = [category for category in range(1, 91) if category not in _UNUSED_IDS]

# Category id -> label in masks, 1 to 80: the rank of the id among those in use (mcc spec section 5.5).
LABEL_OF_CATEGORY = {category: label for label, category in enumerate(_USED_IDS, start=1)}
