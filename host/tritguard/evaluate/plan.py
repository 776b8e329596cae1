"""What an evaluation does: the threat model's bounds, the attacks and their budgets."""

from __future__ import annotations

from pydantic import Field, field_validator

from tritguard.attack import Attack, Fgsm, Noise, Pgd, Square
from tritguard.records import Record


class Plan(Record):
    """Settings of an evaluation; the `[attack]` table of a run's configuration.

    Attributes:
        samples: drawn from the test set with the seed.
        eps: L-infinity bounds of the threat model in steps of the int8 input grid, rising.
        sanity_eps: a bound so large that any model has to fall to chance; not part of the threat model.
    """

    samples: int = Field(100, ge=1)
    eps: tuple[int, ...] = (1, 2, 4, 8)
    sanity_eps: int = Field(64, ge=2, le=255)
    seed: int = Field(0, ge=0)
    pgd_steps: int = Field(20, ge=1)
    pgd_restarts: int = Field(1, ge=1)
    square_queries: int = Field(300, ge=2)
    noise_tries: int = Field(10, ge=1)

    @field_validator("eps")
    @classmethod
    def _rising(cls, eps: tuple[int, ...]) -> tuple[int, ...]:
        if not eps or list(eps) != sorted(set(eps)) or not 1 <= eps[0] <= eps[-1] <= 255:
            raise ValueError("must be rising whole numbers from 1 to 255")
        return eps

    @property
    def bounds(self) -> tuple[int, ...]:
        """All eps the attacks run at, rising, the sanity bound included."""
        return tuple(sorted({*self.eps, self.sanity_eps}))

    def attacks(self) -> tuple[Attack, ...]:
        """The attacks with their budgets, weakest first."""
        return (
            Noise(self.noise_tries),
            Fgsm(),
            Pgd(self.pgd_steps, self.pgd_restarts),
            Square(self.square_queries),
        )
