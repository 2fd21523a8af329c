"""The id of pixels without a label; they are excluded from losses and scores."""

IGNORE = 255
