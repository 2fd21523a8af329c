"""The id of a pixel without a label: it is neither learned from nor scored."""

IGNORE = 255
