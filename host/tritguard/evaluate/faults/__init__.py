"""Accuracy against bits of the weights turned over in flash."""
