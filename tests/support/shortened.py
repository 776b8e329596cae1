"""Data sets with fewer samples than they have: most of the time of a short training goes into its evaluation."""

from __future__ import annotations

from dataclasses import replace

from tritguard.data import Dataset


def shortened(data: Dataset, tests: int, training: int | None = None) -> Dataset:
    """The data set with the first `tests` of its test samples, and the first `training` of its others."""
    fewer = replace(data, x_test=data.x_test[:tests], y_test=data.y_test[:tests])
    if training is None or data.x_train is None or data.y_train is None:
        return fewer
    return replace(fewer, x_train=data.x_train[:training], y_train=data.y_train[:training])
