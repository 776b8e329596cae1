"""What an evaluation does: the threat model's bounds, the attacks and their budgets."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from tritguard.attack import Attack, Fgsm, Noise, Pgd, Square
from tritguard.attack.base import Access, Norm
from tritguard.records import Record


class Plan(Record):
    """Settings of an evaluation; the `[attack]` table of a run's configuration.

    Attributes:
        samples: drawn from the test set with the seed.
        norm: how the distance to the clean input is measured, `Linf` or `L2`.
        access: what black-box attacks see: int32 `logits`, int8 `scores`, or `labels` alone.
        eps: bounds of the threat model in steps of the int8 input grid, rising.
        sanity_eps: a bound so large that any model has to fall to chance, above every eps and not part of the threat
            model; without it, and for Linf alone, 64 or twice the largest eps where that is more.
    """

    samples: int = Field(100, ge=1)
    norm: Norm = "Linf"
    access: Access = "logits"
    eps: tuple[int, ...] = (1, 2, 4, 8)
    sanity_eps: int | None = Field(None, ge=2)
    seed: int = Field(0, ge=0)
    pgd_steps: int = Field(20, ge=1)
    pgd_restarts: int = Field(1, ge=1)
    square_queries: int = Field(300, ge=2)
    noise_tries: int = Field(10, ge=1)

    @field_validator("eps")
    @classmethod
    def _rising(cls, eps: tuple[int, ...]) -> tuple[int, ...]:
        if not eps or list(eps) != sorted(set(eps)) or eps[0] < 1:
            raise ValueError("must be rising whole numbers from 1")
        return eps

    @model_validator(mode="after")
    def _sanity_is_beyond(self) -> Self:
        if self.norm == "L2" and self.sanity_eps is None:
            raise ValueError("norm L2 needs a sanity_eps: how far is far enough depends on the size of the input")
        if self.norm == "Linf" and max(self.sanity + 1, self.eps[-1] + 2) > 256:
            raise ValueError("no Linf distance on the int8 grid is above 255, nor an eps above 254")
        if self.sanity <= self.eps[-1]:
            raise ValueError(f"sanity_eps must be above the largest eps, {self.eps[-1]}")
        return self

    @property
    def sanity(self) -> int:
        """The sanity bound in int8 steps."""
        return self.sanity_eps or max(64, min(255, 2 * self.eps[-1]))

    @property
    def bounds(self) -> tuple[int, ...]:
        """All eps the attacks run at, rising; the sanity bound is the last."""
        return (*self.eps, self.sanity)

    def attacks(self) -> tuple[Attack, ...]:
        """The attacks with their budgets, weakest first."""
        attacks: tuple[Attack, ...] = (Noise(self.noise_tries), Fgsm(), Pgd(self.pgd_steps, self.pgd_restarts))
        return (*attacks, Square(self.square_queries)) if self.norm == "Linf" else attacks
