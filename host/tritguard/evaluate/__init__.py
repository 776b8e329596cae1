"""Studies of a deployed model: measured on its twin, confirmed on the device, and checked for doubts."""
