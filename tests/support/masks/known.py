"""Attacks that know a mask: searches that try every value of the ball for each element, whatever gradients say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.support.masks.task import Float, Labels, Trunk
from tritguard.predictor import Int8

Table = Callable[[Int8], Float]  # of int8 values; may give several numbers for each, along a further axis


@dataclass(frozen=True)
class Masking(ABC):
    """A network of one hidden layer, and what its mask does to the input in front of it."""

    trunk: Trunk

    @abstractmethod
    def seen(self, x: Int8) -> Float:
        """What the network sees of inputs int8[n, 64]: float64[n, features]."""

    @abstractmethod
    def gains(self, x: Int8, slopes: Float, choices: Int8) -> Float:
        """How much each value of each element would serve: float64[n, 64, k].

        Args:
            x: int8[n, 64], where the samples stand.
            slopes: float64[n, features], by how much the loss rises with what the network sees.
            choices: int8[n, 64, k].
        """

    def attack(self, x: Int8, y: Labels, eps: int) -> Int8:
        """Move elements to the values that serve best, a few at a time; the best of some random starts.

        Args:
            x: int8[n, 64].
            y: int64[n].
            eps: the largest distance, in int8 steps.
        """
        rng = np.random.default_rng(0)
        rows, shifts = np.arange(len(x)), np.arange(-eps, eps + 1)
        choices = np.clip(x[:, :, None].astype(np.int64) + shifts, -128, 127).astype(np.int8)
        best, least = x.copy(), np.full(len(x), np.inf)
        for _start in range(4):
            now = np.take_along_axis(choices, rng.integers(0, len(shifts), (*x.shape, 1)), 2)[..., 0]
            for step in range(80):
                hidden = np.maximum(self.seen(now) @ self.trunk.first.T, 0)
                logits = hidden @ self.trunk.second.T
                others = logits.copy()
                others[rows, y] = -np.inf
                rival = others.argmax(axis=1)
                margin = logits[rows, y] - logits[rows, rival]
                better = margin < least
                best[better], least[better] = now[better], margin[better]
                slopes = ((self.trunk.second[rival] - self.trunk.second[y]) * (hidden > 0)) @ self.trunk.first
                wanted = self.gains(now, slopes, choices).argmax(axis=2)[..., None]
                going = rng.random(x.shape) < 0.55 * 0.955**step
                now = np.where(going, np.take_along_axis(choices, wanted, 2)[..., 0], now)
        return best


@dataclass(frozen=True)
class Tabled(Masking):
    """A function of single values."""

    table: Table

    def seen(self, x: Int8) -> Float:
        return self.table(x).reshape(len(x), -1)

    def gains(self, x: Int8, slopes: Float, choices: Int8) -> Float:
        values = self.table(choices).reshape(*choices.shape, -1)
        return np.asarray(np.einsum("nvc,nvkc->nvk", slopes.reshape(*x.shape, -1), values))


@dataclass(frozen=True)
class Mixed(Masking):
    """A function of sums of few values.

    Attributes:
        mixing: float64[features, 64].
        table: of the sums, float64.
    """

    mixing: Float
    table: Callable[[NDArray[np.floating]], Float]

    def seen(self, x: Int8) -> Float:
        return self.table(x @ self.mixing.T)

    def gains(self, x: Int8, slopes: Float, choices: Int8) -> Float:
        sums, found = x @ self.mixing.T, np.zeros(choices.shape)
        moves = choices.astype(np.float64) - x[..., None]
        for feature, element in zip(*np.nonzero(self.mixing), strict=True):
            moved = sums[:, feature, None] + moves[:, element] * self.mixing[feature, element]
            found[:, element] += slopes[:, feature, None] * self.table(moved)
        return found
