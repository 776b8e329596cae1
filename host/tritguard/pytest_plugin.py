"""A fixture for users' test suites: the robust accuracy of a model on its board.

pytest finds it where tritguard is installed. Nothing of tritguard's is imported before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tritguard.evaluate.robustness.result import RobustnessResult

Measure = Callable[..., "RobustnessResult"]


@pytest.fixture(scope="session")
def tritguard_robust_accuracy(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """A function that converts, builds and attacks a model, and returns the result.

    Its arguments are those of `measure` below; by default it writes to the session's temporary folder.
    """

    def measure(  # noqa: PLR0913 - what a test may want to say
        model: str | Path,
        data: str | Path,
        *,
        eps: Sequence[int] = (1, 2, 4, 8),
        samples: int = 100,
        preset: str = "quick",
        board: str = "mps2-an386",
        port: str | None = None,
        control: str | Path | None = None,
        out: str | Path | None = None,
        **settings: object,
    ) -> RobustnessResult:
        """Measure a model's robust accuracy on its board.

        Args:
            model: what `tritguard convert` takes.
            data: what `tritguard data` takes.
            eps: bounds in int8 steps, rising.
            samples: how many samples of the test set to attack.
            preset: the attacks and their budgets.
            board: an id, a board's file, or pio:PLATFORM/BOARD.
            port: the serial port of a real board that runs the firmware; without it the emulated board is started.
            control: an undefended model of the same task.
            out: where bundle, build and result are kept; by default in the session's temporary folder.
            settings: further settings of the plan, as the table `[attack]` of a configuration has them.

        Raises:
            TritguardError: a step on the way failed.
        """
        from tritguard import api  # noqa: PLC0415 - not for suites that do not ask

        folder = tmp_path_factory.mktemp("tritguard") if out is None else Path(out)
        plan = api.Plan.model_validate({"eps": tuple(eps), "samples": samples, "preset": preset, **settings})
        dataset, place = api.load_data(str(data)), api.load_board(board)
        bundle = api.convert(model, folder / "bundle", core=place.core, classes=dataset.classes, data=dataset)
        firmware = api.build(bundle, folder / "build", board=place)
        return api.attack(bundle, firmware, dataset, folder, plan=plan, port=port, control=control)

    return measure
