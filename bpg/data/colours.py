"""Colours of classes that are seen on photographs."""

import colorsys

BACKGROUND_COLOUR = "#505050"
"""Where the background is drawn, too; in a palette it is black."""

# Bright, and the farther from all before (in Lab, and from white and greys) the earlier they come:
# the least distance of two is 35.
_FIRST = (
    "#ff9f1c #2ec4ff #00c48c #ff5ba7 #ffe74c #c300ff #ff0f2d #4b78ff #00ff00 #78872d "
    "#e1b4ff #f09687 #a5ff78 #e169f0 #e1f0a5 #69ffff #009600 #2d9696 #d2ff00 #4b78c3"
)
_GOLDEN = 0.381966  # of the circle of hues: each new one falls into the widest gap
_LEVELS = ((0.65, 1.0), (0.9, 0.8), (0.45, 0.9))  # saturation and value, in turn


def bright_colours(number: int) -> tuple[str, ...]:
    """Return colours that stand out on photographs: VOC's are dark.

    Args:
        number: Of classes, the background among them.

    Returns:
        "#rrggbb" of the labels 0..`number` - 1: black for the background, and no colour twice.
    """
    colours = ["#000000", *_FIRST.split()][:number]
    place = 0
    while len(colours) < number:
        red, green, blue = colorsys.hsv_to_rgb(_GOLDEN * place % 1, *_LEVELS[place % len(_LEVELS)])
        place += 1
        colour = "#{:02x}{:02x}{:02x}".format(*(round(255 * c) for c in (red, green, blue)))
        if colour not in colours:
            colours.append(colour)
    return tuple(colours)
