"""The plan of an evaluation: the threat model's bounds, the attacks and their budgets."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from tritguard.attack import Attack, Ball
from tritguard.attack.base import Access, Goal
from tritguard.attack.catalog import ATTACKS, Setting, Settings, make
from tritguard.attack.norms import NORMS, NormName
from tritguard.attack.packages import INSTALL
from tritguard.errors import ToolMissingError
from tritguard.evaluate.limits import RangeSetting
from tritguard.evaluate.robustness.presets import PRESETS, Preset
from tritguard.records import Record


class Plan(Record):
    """Settings of an evaluation; the `[attack]` table of a run's configuration.

    Attributes:
        samples: the number of samples drawn from the test set.
        norm: how the distance to the clean input is measured, a name from `NORMS`, such as `Linf` or `L2`.
        goal: any wrong class, or for each sample a certain one that is drawn at random.
        access: what black-box attacks see: int32 `logits`, int8 `scores`, or `labels` alone.
        eps: bounds of the threat model in steps of the int8 input grid, rising.
        sanity_eps: a bound so large that attacks break nearly every model, above every eps and not part of the threat
            model; what holds there is doubted. By default the norm names one, if it can: for Linf 64, or twice the
            largest eps if that is more; for L2 it depends on the size of the input, and the plan has to name one.
        data_range: the lowest and the highest value that an input may have, in the samples' own unit; `data` takes them
            from the data set's definition, `none` allows whatever the model's input can hold.
        seed: decides the samples and all that is random in attacks.
        preset: the attacks and their settings, where the plan does not name them itself.
        attacks: names from `ATTACKS`, in the order they run, instead of the preset's.
        settings: settings of single attacks by name, which override the preset's.
    """

    samples: int = Field(100, ge=1)
    norm: NormName = "Linf"
    goal: Goal = "untargeted"
    access: Access = "logits"
    eps: tuple[int, ...] = (1, 2, 4, 8)
    sanity_eps: int | None = Field(None, ge=2)
    data_range: RangeSetting = "data"
    seed: int = Field(0, ge=0)
    preset: Preset = "standard"
    attacks: tuple[str, ...] = ()
    settings: dict[str, dict[str, Setting]] = Field(default_factory=dict)

    @field_validator("eps")
    @classmethod
    def _rising(cls, eps: tuple[int, ...]) -> tuple[int, ...]:
        if not eps or list(eps) != sorted(set(eps)) or eps[0] < 1:
            raise ValueError("must be rising whole numbers from 1")
        return eps

    @model_validator(mode="after")
    def _sanity_is_beyond(self) -> Self:
        farthest = NORMS[self.norm].farthest
        if self._sanity is None:
            why = "how far is far enough depends on the input's size"
            raise ValueError(f"norm {self.norm} needs --sanity-eps (sanity_eps in a configuration): {why}")
        if farthest is not None and max(self.sanity, self.eps[-1] + 1) > farthest:
            raise ValueError(
                f"no {self.norm} distance on the int8 grid is above {farthest}: sanity_eps can be {farthest} at most, "
                f"an eps {farthest - 1}"
            )
        if self.sanity <= self.eps[-1]:
            raise ValueError(f"sanity_eps must be above the largest eps, {self.eps[-1]}")
        return self

    @model_validator(mode="after")
    def _attacks_can_be_made(self) -> Self:
        for name, settings in self.budgets.items():
            make(name, settings)
            if self.attacks and not ATTACKS[name].knows(self.norm):
                raise ValueError(f"{name} knows no {self.norm} ball")
        if len(set(self.attacks)) < len(self.attacks):
            raise ValueError("attacks names one of them twice")
        if unused := set(self.settings) - set(self.budgets):
            raise ValueError(f"settings of {', '.join(sorted(unused))}, which this plan does not run")
        return self

    @property
    def sanity(self) -> int:
        """The sanity bound in int8 steps."""
        assert self._sanity is not None  # validated
        return self._sanity

    @property
    def _sanity(self) -> int | None:
        return self.sanity_eps or NORMS[self.norm].sanity_eps(self.eps[-1])

    @property
    def bounds(self) -> tuple[int, ...]:
        """All eps that the attacks run at, rising; the sanity bound is the last."""
        return (*self.eps, self.sanity)

    @property
    def budgets(self) -> dict[str, Settings]:
        """The attacks and the settings that plan and preset give them; other settings have the classes' defaults."""
        preset = PRESETS[self.preset]
        return {name: {**preset.get(name, {}), **self.settings.get(name, {})} for name in self.attacks or preset}

    @property
    def balls(self) -> tuple[Ball, ...]:
        """The balls around samples, one for each bound."""
        return tuple(Ball(self.norm, eps) for eps in self.bounds)

    def iterated(self) -> Attack | None:
        """Make the plan's iterated gradient attack whose steps can be doubled; None if it has none."""
        return None if self._iterated is None else make(self._iterated, self.budgets[self._iterated])

    def doubled(self) -> Attack | None:
        """Make the iterated attack with twice its steps, to see whether they were enough; None if there is none."""
        attack = self.iterated()
        if attack is None or self._iterated is None:
            return None
        steps = attack.parameters["steps"]
        return make(self._iterated, {**self.budgets[self._iterated], "steps": 2 * int(steps)})

    @property
    def _iterated(self) -> str | None:
        known = {name for name, entry in ATTACKS.items() if entry.doubled and entry.knows(self.norm)}
        names = [name for name in ATTACKS if name in known and name in self._installed]
        return names[-1] if names else None

    @property
    def left_out(self) -> dict[str, str]:
        """The preset's attacks that cannot run here, each with the name of a package that is not installed."""
        missing = {name: ATTACKS[name].missing for name in self.budgets if ATTACKS[name].knows(self.norm)}
        return {name: package.name for name, package in missing.items() if package is not None}

    def says_left_out(self) -> list[str]:
        """A sentence for each package that is not installed, about what the preset goes without."""
        return [
            f"without {', '.join(name for name, needed in self.left_out.items() if needed == package)}: "
            f"{package} is not installed; {INSTALL}"
            for package in dict.fromkeys(self.left_out.values())
        ]

    def check_installed(self) -> None:
        """Check that attacks which the plan names itself can run here; a preset goes without those that cannot.

        Raises:
            ToolMissingError: one cannot.
        """
        for name, package in self.left_out.items() if self.attacks else ():
            raise ToolMissingError(f"needs {package}, which is not installed", where=f"attack {name}", fix=INSTALL)

    @property
    def _installed(self) -> dict[str, Settings]:
        return {name: settings for name, settings in self.budgets.items() if name not in self.left_out}

    def budgets_for(self, classes: int) -> dict[str, Settings]:
        """Select from `budgets` for a number of classes; of a preset's attacks only those that fit and can run."""
        return {
            name: settings
            for name, settings in self._installed.items()
            if self.attacks or ATTACKS[name].fits(self.norm, classes)
        }

    def suite(self, classes: int) -> tuple[Attack, ...]:
        """Make the attacks for a number of classes, in the order they run."""
        return tuple(make(name, settings) for name, settings in self.budgets_for(classes).items())
