"""Evaluation: a plan of attacks, run on the twin, confirmed on the device, checked, in one Result."""
