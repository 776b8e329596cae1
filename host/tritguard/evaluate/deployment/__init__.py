"""The study of a deployment: the whole test set on the device."""
