"""The two-step attack: gradients lead to the edge of the decision, a walk over the int8 grid leads across it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.apgd import ascend
from tritguard.attack.base import Attack, Ball, Best, Crafted, Kind, Places, Queries, Target
from tritguard.attack.gradient import Gradients, Loss
from tritguard.attack.substitute import substitute
from tritguard.attack.windows import as_image, draw, sides

Rows = NDArray[np.floating]  # one row per sample, one column per input element

# The ascents of step 1: the loss, the share of the gradients, and whether it is on the view (or on the substitute).
# The walk gets the remaining gradients. Two ascents on the view, each with its own loss and start, find more than one
# that is as long as both. The substitute gets few gradients: it is meant for networks on which the view's gradients are
# bad, and finds nothing more where they are good, as on all networks measured.
_ASCENTS: tuple[tuple[Loss, float, bool], ...] = (("ce", 0.6, True), ("margin", 0.25, True), ("margin", 0.05, False))
_DRAWS = 6  # windows drawn per query; the model is asked about the one that the gradient promises most of
_LARGEST_MOVE = 0.02  # the share of the elements that the walk's first proposals change
_HALVINGS = 4  # how often that share is halved over the walk
_MEMORY = 0.8  # the weight of the gradients taken earlier, at points where the sample stood before
_FLIPS = 0.3  # the score of trying an element at its worse bound, relative to the best move of all


class TwoStep(Attack):
    """An attack in two steps for quantized networks, of our own construction.

    "Breaking TinyML" (IEEE Micro 2026) reports that two-step attacks made for quantized networks beat the usual ones.
    Its method is not public, and this is not a copy of it.

    Step 1 runs APGD on the straight-through view of the deployed integers, first on the cross-entropy and then, for
    samples that still hold, on the margin; at last it runs on a substitute with very few bits (see `LowBitView`).
    Step 2 walks over the int8 grid from the best input found and asks the deployed model about every move, because
    rounding makes gradients wrong in the last step. A sample that holds is pushed. In a ball that bounds each element
    by itself, single elements go to the bound that the gradient points to, or to the other one where the gradient says
    least; in turn with these, a window goes to one bound as a whole, usually the one of a few drawn that promises most
    by the gradient. In other balls, single elements move along the gradient. A sample that is over the edge takes back
    elements for as long as it stays over, which leaves fewer elements changed and, in an L2 ball, a shorter distance.

    Threat model: white box, with queries of the deployed model.

    Args:
        gradients: the largest number of gradients per sample, of view and substitute together.
        queries: the largest number of queries per sample; at least twice as many as gradients, because APGD asks the
            model after each of its steps too.

    Raises:
        ValueError: there are too few of either.
    """

    name = "Two-step"
    kind: Kind = "white box"
    follows = "gradients and answers"

    def __init__(self, gradients: int = 40, queries: int = 200) -> None:
        if gradients < 10 or queries < 2 * gradients:
            raise ValueError(
                f"{gradients} gradients and {queries} queries: at least 10 gradients and twice as many queries"
            )
        self.gradients = gradients
        self.queries = queries

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {
            **vars(self),
            **{
                f"gradients on the {'view' if on_view else 'substitute'}, {loss}": steps
                for loss, steps, on_view in self._ascents
            },
            "largest move": _LARGEST_MOVE,
            "implementation": "tritguard",
        }

    @property
    def _ascents(self) -> list[tuple[Loss, int, bool]]:
        """The ascents with their numbers of gradients, of which at least one is left for the walk."""
        left, ascents = self.gradients - 1, []
        for loss, share, on_view in _ASCENTS:
            steps = min(round(share * self.gradients), left)
            left -= steps
            ascents.append((loss, steps, on_view))
        return ascents

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        queries, best, taken = Queries(target), Best(target), 0
        clean = target.predictor.predict(target.x)
        queries.made += len(target.x)
        best.take(target.x, target.margins(clean))
        spent = 0
        for loss, steps, on_view in self._ascents:
            spent += steps
            if steps and (best.margins > 0).any():
                source = target if on_view else replace(target, view=substitute(target, clean.labels))
                gradients = Gradients(source, loss)
                ascend(target, ball, gradients, queries, best, steps=steps, rng=rng)
                taken += gradients.taken
        walk = _Walk(target, ball, queries, best, rng)
        walk.run(self.queries - 1 - spent, self.gradients - spent)
        return Crafted(best.x, queries.made, taken + walk.view.taken)


class _Walk:
    """Step 2, for all samples at the same time.

    Attributes:
        view: the gradients that the walk takes, which it counts.
    """

    def __init__(self, target: Target, ball: Ball, queries: Queries, best: Best, rng: np.random.Generator) -> None:
        self.view = Gradients(target, "margin")
        self._target, self._ball, self._queries, self._best = target, ball, queries, best
        self._rng = rng
        self._clean = target.x.reshape(len(target.x), -1).astype(np.int16)
        self._gradient = np.zeros(self._clean.shape, np.float32)
        self._fresh = np.zeros(len(target.x), bool)  # samples whose last gradient was taken over the edge
        self._taken_back = np.full(
            len(target.x), 0.5
        )  # the share of its changed elements that each sample tries to take back

    def run(self, steps: int, gradients: int) -> None:
        """Make one query per sample and step, and take gradients at regular intervals."""
        every = -(-steps // gradients)
        for step in range(steps):
            windows = step % 2 == 0 and self._ball.geometry.box
            share = _LARGEST_MOVE * 0.5 ** (_HALVINGS * step / steps)
            holds = self._best.margins > 0
            if step % every == 0:
                self._look(holds)
            if holds.any():
                self._push(np.flatnonzero(holds), share, windows)
            if (over := np.flatnonzero(~holds & self._changed())).size:
                self._take_back(over)

    def _changed(self) -> NDArray[np.bool_]:
        """bool[n]: samples whose best input differs from the clean one."""
        return np.asarray((self._best.x.reshape(self._clean.shape) != self._clean).any(axis=1))

    def _look(self, holds: NDArray[np.bool_]) -> None:
        """Take gradients where the samples stand; a sample that is over the edge needs only one there."""
        rows = np.flatnonzero(holds | ~self._fresh & self._changed())
        self._fresh |= ~holds
        if rows.size:
            found = self.view(self._best.x[rows].astype(np.float32), rows)[1]
            flat = found.reshape(len(rows), -1)
            self._gradient[rows] = _MEMORY * self._gradient[rows] + flat / np.maximum(_largest(np.abs(flat)), 1e-12)

    def _push(self, rows: Places, share: float, windows: bool) -> None:
        x = self._best.x[rows].reshape(len(rows), -1).astype(np.int16)
        count = max(1, round(share * x.shape[1]))
        if windows:
            moved = self._windows(x, rows, share)
        elif self._ball.geometry.box:
            moved = self._to_bounds(x, rows, count)
        else:
            moved = self._along_gradient(x, rows, count)
        tried = self._ball.to_grid(self._shaped(moved), self._target.x[rows])
        self._best.take(tried, self._queries.margins(tried, rows), rows)

    def _bounds(self, rows: Places) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """The lowest and highest values, int16[n, elements], in a ball that is a box."""
        low = np.maximum(self._clean[rows] - self._ball.eps, self._ball.low)
        return low, np.minimum(self._clean[rows] + self._ball.eps, self._ball.high)

    def _windows(self, x: NDArray[np.int16], rows: Places, share: float) -> NDArray[np.int16]:
        """Move one window per sample to a bound, all channels alike: usually the most promising of a few drawn."""
        images = (len(x), *as_image(self._target.x.shape[1:]))
        low, high = self._bounds(rows)
        chosen, most = x, np.full(len(x), -np.inf)
        for _ in range(_DRAWS):
            inside = np.zeros(images, bool)
            inside[draw(self._rng, images, sides(*images[1:3], share))] = True
            up = self._rng.random((len(x), 1)) < 0.5
            moved = np.where(inside.reshape(x.shape), np.where(up, high, low), x)
            promise = (self._gradient[rows] * (moved - x)).sum(axis=1) * self._rng.exponential(size=len(x))
            promise[(moved == x).all(axis=1)] = -np.inf  # a query for nothing
            chosen = np.where((promise > most)[:, None], moved, chosen)
            most = np.maximum(most, promise)
        return chosen

    def _to_bounds(self, x: NDArray[np.int16], rows: Places, count: int) -> NDArray[np.int16]:
        """Move some elements to a bound of the box, preferably those of which the gradient promises most."""
        gradient, clean = self._gradient[rows], self._clean[rows]
        low, high = self._bounds(rows)
        better = np.where(gradient > 0, high, low)
        gain = np.abs(gradient) * np.abs(better - x)
        harmless = 1 / (np.abs(gradient) + 1e-9)
        score = np.where(gain > 0, _relative(gain), _FLIPS * _relative(harmless))
        other = np.where(x > clean, low, high)
        return np.where(self._drawn(score, count), np.where(gain > 0, better, other), x)

    def _along_gradient(self, x: NDArray[np.int16], rows: Places, count: int) -> NDArray[np.int16]:
        """Move some elements up or down as the gradient says, each as far as the norm does in a short step."""
        gradient = self._gradient[rows]
        steps = self._ball.geometry.nudge(
            self._shaped(gradient), self._ball.eps, self._shaped(x - self._clean[rows]), count
        ).reshape(x.shape)
        return np.where(self._drawn(np.abs(gradient) * (steps != 0), count), x + steps.astype(np.int16), x)

    def _take_back(self, rows: Places) -> None:
        """Move some changed elements back to the clean input, preferably those that matter least by the gradient."""
        x, clean = self._best.x[rows].reshape(len(rows), -1).astype(np.int16), self._clean[rows]
        worth = _relative(np.abs(self._gradient[rows] * (x - clean))) + 0.1
        changed = x != clean
        counts = np.maximum(1, self._taken_back[rows] * changed.sum(axis=1)).astype(np.int64)
        tried = self._shaped(np.where(self._drawn(changed / worth, counts) & changed, clean, x)).astype(np.int8)
        margins = self._queries.margins(tried, rows)
        stays = margins <= 0
        self._best.x[rows[stays]], self._best.margins[rows[stays]] = tried[stays], margins[stays]
        self._taken_back[rows] = np.where(stays, self._taken_back[rows], self._taken_back[rows] / 2)

    def _drawn(self, score: Rows, count: int | NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n, elements]: `count` elements of each row, drawn without replacement with odds close to the scores."""
        noisy = score * self._rng.exponential(size=score.shape)
        last = np.sort(noisy, axis=1)[np.arange(len(noisy)), -np.broadcast_to(count, len(noisy))]
        return np.asarray((noisy >= last[:, None]) & (noisy > 0))

    def _shaped(self, rows: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float64]:
        return rows.reshape(-1, *self._target.x.shape[1:]).astype(np.float64)


def _largest(values: Rows) -> Rows:
    return np.asarray(values.max(axis=1, keepdims=True))


def _relative(values: Rows) -> Rows:
    """The values as shares of the largest one in their row."""
    return np.asarray(values / np.maximum(_largest(values), 1e-12))
