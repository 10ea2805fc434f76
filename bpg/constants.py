"""Numbers that more than one part must agree on."""

IGNORE = 255
"""The label of pixels that are not labelled, or not scored."""

# ImageNet's channel means and deviations, for RGB in 0..1: what the backbones were trained on.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
