"""Membership inference: what a model's outputs tell about the samples it was trained on."""
