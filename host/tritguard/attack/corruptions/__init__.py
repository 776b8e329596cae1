"""Common corruptions by the names that plans use. A new one is a class in a file here and one line below."""

from tritguard.attack.corruptions.base import SEVERITIES, Corruption
from tritguard.attack.corruptions.blur import GaussianBlur
from tritguard.attack.corruptions.light import Brightness, Contrast
from tritguard.attack.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from tritguard.attack.corruptions.sensor import SensorBits
from tritguard.attack.corruptions.sound import Loud, Quiet, WhiteNoise

OF_PICTURES: dict[str, Corruption] = {
    "gaussian-noise": GaussianNoise(),
    "shot-noise": ShotNoise(),
    "impulse-noise": ImpulseNoise(),
    "gaussian-blur": GaussianBlur(),
    "brightness": Brightness(),
    "contrast": Contrast(),
    "sensor-bits": SensorBits(),
}

OF_SOUND: dict[str, Corruption] = {
    "white-noise": WhiteNoise(),
    "loud": Loud(),
    "quiet": Quiet(),
}

ALL: dict[str, Corruption] = {**OF_PICTURES, **OF_SOUND}

__all__ = ["ALL", "OF_PICTURES", "OF_SOUND", "SEVERITIES", "Corruption"]
