"""A shorter wait for a board that is known to stay silent: the waits are as many, each of them shorter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tritguard.device import board, inferences
from tritguard.device.greeting import FIRST


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on to the end of the test, silence ends sooner; answers that come do so within these times too."""
    monkeypatch.setattr(inferences, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(board, "FIRST", replace(FIRST, attempts=5))
