"""Attacks on the deployed model, one per file; each crafts inputs on the int8 input grid."""

from tritguard.attack.apgd import Apgd, ApgdTargeted
from tritguard.attack.base import Asking, Attack, Ball, Crafted, Target
from tritguard.attack.boundary import Boundary
from tritguard.attack.carlini_wagner import CarliniWagner
from tritguard.attack.fgsm import Fgsm
from tritguard.attack.hop_skip_jump import HopSkipJump
from tritguard.attack.noise import Noise
from tritguard.attack.pgd import Pgd
from tritguard.attack.square import Square
from tritguard.attack.two_step import TwoStep
from tritguard.attack.zoo import Zoo

__all__ = [
    "Apgd",
    "ApgdTargeted",
    "Asking",
    "Attack",
    "Ball",
    "Boundary",
    "CarliniWagner",
    "Crafted",
    "Fgsm",
    "HopSkipJump",
    "Noise",
    "Pgd",
    "Square",
    "Target",
    "TwoStep",
    "Zoo",
]
