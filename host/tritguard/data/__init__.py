"""Data sets behind one type: samples, labels, classes, and what an input unit is. Knows nothing of models."""

from tritguard.data.catalog import load_dataset
from tritguard.data.dataset import Dataset, Samples, read_dataset, read_samples, to_input_bytes, write_dataset

__all__ = ["Dataset", "Samples", "load_dataset", "read_dataset", "read_samples", "to_input_bytes", "write_dataset"]
