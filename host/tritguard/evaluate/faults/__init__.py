"""Accuracy with bits of the weights flipped in flash."""
