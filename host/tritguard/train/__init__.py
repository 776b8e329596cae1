"""Training of small ternary networks. Only its configuration is imported here: the rest imports TensorFlow."""

from tritguard.train.config import TrainConfig, TrainRecord, checked_config, read_train_config

__all__ = ["TrainConfig", "TrainRecord", "checked_config", "read_train_config"]
