"""Attacks on the deployed model, one a file; each crafts on the int8 input grid."""

from tritguard.attack.base import Attack, Ball, Crafted, Target
from tritguard.attack.fgsm import Fgsm
from tritguard.attack.noise import Noise
from tritguard.attack.pgd import Pgd
from tritguard.attack.square import Square

__all__ = ["Attack", "Ball", "Crafted", "Fgsm", "Noise", "Pgd", "Square", "Target"]
