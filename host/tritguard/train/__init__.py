"""Training of small ternary networks. Only its configuration is imported here: the rest imports TensorFlow."""

from tritguard.train.config import TrainConfig, TrainRecord, read_train_config

__all__ = ["TrainConfig", "TrainRecord", "read_train_config"]
