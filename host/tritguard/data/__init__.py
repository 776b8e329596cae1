"""Data sets behind one type: samples, labels, classes and the unit of the inputs. Nothing here knows of models."""

from tritguard.data.catalog import load_dataset
from tritguard.data.dataset import Dataset, SampleArray, read_dataset, read_samples, to_input_bytes, write_dataset

__all__ = ["Dataset", "SampleArray", "load_dataset", "read_dataset", "read_samples", "to_input_bytes", "write_dataset"]
