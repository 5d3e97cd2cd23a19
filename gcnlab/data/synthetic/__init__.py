"""Embedded stand-ins for VOC, SBD, ImageNet, COCO and Cityscapes, drawn from seeds."""
