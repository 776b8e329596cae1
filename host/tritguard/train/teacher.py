"""Loads the teacher of a distillation: the network of an earlier training, in the form in which it was trained."""

from __future__ import annotations

from typing import Any

from tritguard.errors import BadInputError
from tritguard.records import from_json
from tritguard.train.config import RECORD, TrainRecord
from tritguard.train.inputs import InputGrid
from tritguard.train.nets import build_net
from tritguard.train.quantize import quantize
from tritguard.train.start import set_start_weights, start_file


def load_teacher(model: str, input_shape: tuple[int, ...], classes: int, grid: InputGrid) -> tuple[Any, str]:
    """The trained network, whose weights do not change any more.

    The net is built from the settings in `train.json` beside the file, and nothing in the file is deserialised.

    Args:
        model: the value of `TeacherConfig.model`.
        input_shape: height, width, channels of the samples.
        classes: number of outputs.
        grid: the values of the samples.

    Returns:
        A keras.Model that gives logits, and the SHA-256 of the file of its weights.

    Raises:
        BadInputError: the folder has no record or no weights, or the weights fit other samples or classes.
    """
    path = start_file(model).parent / RECORD
    if not path.is_file():
        fix = "give [train.teacher] the folder of a training, which has one"
        raise BadInputError("a teacher's settings are not there", where=str(path), fix=fix)
    config = from_json(TrainRecord, path).config
    net = build_net(config, input_shape, classes)
    digest = set_start_weights(net, model)
    rounding = config.quantize.model_copy(update={"activations": "float"})  # their ranges are not stored
    teacher = quantize(net, rounding, (grid.low, grid.high))
    teacher.trainable = False
    return teacher, digest
