"""Trains small ternary networks. Only the configuration is imported here, because the rest imports TensorFlow."""

from tritguard.train.config import TrainConfig, TrainRecord, read_train_config

__all__ = ["TrainConfig", "TrainRecord", "read_train_config"]
