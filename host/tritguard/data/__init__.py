"""Data sets behind one type: samples, labels, classes, and what an input unit is. Knows nothing of models."""

from tritguard.data.catalog import load_dataset
from tritguard.data.dataset import Dataset, read_dataset, to_input_bytes, write_dataset

__all__ = ["Dataset", "load_dataset", "read_dataset", "to_input_bytes", "write_dataset"]
