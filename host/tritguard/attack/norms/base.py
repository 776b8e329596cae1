"""What a norm has to know so that attacks can work in its balls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.arrays import column
from tritguard.predictor import Int8

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating]


class Norm(ABC):
    """How far an input is from its clean one, and how to move within a bound on that distance.

    Lengths and eps are in steps of the int8 input grid, unless `unit` says otherwise. Moves are differences from the
    clean inputs, float[n, *input_shape], in steps.

    Attributes:
        name: what plans and results call it.
        meaning: the distance in a few words, for reports.
        order: the p of the Lp norm, as ART takes it: a number, or infinity; None if it is no Lp norm.
        unit: what lengths and eps count: steps of the int8 input grid, or pixels.
        box: whether eps bounds each element by itself, so that all of them can use all of it at the same time.
        placed: whether moves lie in one place of the input, which ascents choose along gradients; see `start_at`.
        farthest: the largest distance between two inputs on the int8 grid; None if it depends on their size.
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    order: ClassVar[float | None] = None
    unit: ClassVar[str] = "step"
    box: ClassVar[bool] = False
    placed: ClassVar[bool] = False
    farthest: ClassVar[int | None] = None

    def sanity_eps(self, largest: int) -> int | None:
        """A radius, above the largest eps of a plan, at which any model has to fall to chance.

        It is None, the default, where it depends on the size of the input; the plan then has to name one.
        """
        return None

    def scaled(self, eps: float, step: float) -> float:
        """An eps on another scale, where one int8 step is `step`: input units, or the grid of another model."""
        return eps * step

    @abstractmethod
    def lengths(self, moves: Floats) -> Floats:
        """The length of each move, [n]."""

    @abstractmethod
    def to_grid(self, candidates: Floats, clean: Int8, eps: int) -> Int8:
        """Float candidates, [n, *input_shape] in steps, as inputs on the int8 grid at most eps from the clean ones."""

    @abstractmethod
    def shrink(self, moves: Floats, eps: int) -> Floats:
        """The moves projected into the ball of radius eps; those inside stay as they are."""

    @abstractmethod
    def steepest(self, gradients: Floats) -> Floats:
        """The move of length one along which a loss with these gradients, [n, *input_shape], rises most."""

    def along(self, gradients: Floats, eps: int, moved: Floats) -> Floats:
        """The move as long as a ball's radius along which a loss with these gradients rises most.

        Args:
            gradients: float[n, *input_shape], at inputs of the ball.
            eps: the radius.
            moved: float[n, *input_shape], how far those inputs are from the clean ones.
        """
        return eps * self.steepest(gradients)

    def all_along(self, gradients: Floats, eps: int, moved: Floats) -> tuple[Floats, ...]:
        """The moves that together show whether gradients keep what they promise; by default the one of `along`.

        A move of few elements can change the outputs of a low-bit network by less than its rounding does, and then says
        little about its gradients. Norms with such moves therefore give several.
        """
        return (self.along(gradients, eps, moved),)

    def first_step(self, eps: int) -> float:
        """The length of an ascent's first moves, in lengths of `steepest`: the ball's diameter."""
        return 2.0 * eps

    def nudge(self, gradients: Floats, eps: int, moved: Floats, elements: int) -> Floats:
        """What a walk may add to each element when it moves `elements` of them: in all about a fifth of the radius.

        Args:
            gradients: float[n, *input_shape], those of a loss at inputs of the ball.
            eps: the radius.
            moved: float[n, *input_shape], how far those inputs are from the clean ones.
            elements: how many of them move at once.
        """
        one_each = float(self.lengths(np.ones((1, elements)))[0])
        return np.asarray(max(1, round(eps / (5 * one_each))) * np.sign(gradients))

    @abstractmethod
    def start(self, rng: np.random.Generator, shape: tuple[int, ...], eps: int) -> Floats:
        """Random moves of the shape [n, *input_shape] from which gradient attacks start."""

    def start_at(self, rng: np.random.Generator, gains: Floats, eps: int) -> Floats:
        """Random moves like those of `start`, in the place where a loss may rise most.

        The default is `start` itself, for norms whose moves may lie everywhere at the same time.

        Args:
            rng: the generator of the moves.
            gains: float[n, *input_shape], what the loss would gain by each element, were it linear.
            eps: the radius.
        """
        return self.start(rng, gains.shape, eps)

    @abstractmethod
    def to_edge(self, rng: np.random.Generator, clean: Float64, eps: int) -> Float64:
        """Random moves from float64[n, *input_shape] to the edge of the ball: what the noise baseline tries."""

    def towards_clean(self, moves: Floats, share: Float64) -> Floats:
        """The moves shortened to a share, float64[n] in 0..1, of their length: a decision attack's way back.

        By default they are shortened along the line to the clean input.
        """
        return np.asarray(column(share, moves) * moves)
