"""Attacks on the waveform before a keyword spotter's front end, and the bound on them in dB of the signal."""

from tritguard.attack.sound.ball import FrontEnd, SoundBall, decibels
from tritguard.attack.sound.noise import SoundNoise
from tritguard.attack.sound.waveform import SoundTarget, Spoken, Waveform

__all__ = ["FrontEnd", "SoundBall", "SoundNoise", "SoundTarget", "Spoken", "Waveform", "decibels"]
