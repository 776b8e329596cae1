"""The emulator that npm has, which tests skip loudly without."""

from __future__ import annotations

import pytest

from tritguard.device.emulators.rp2040js import Rp2040js, how_to_install


def need_rp2040js() -> None:
    """Skip the test where rp2040js is not installed."""
    if Rp2040js().version() is None:
        pytest.skip(f"needs rp2040js: {how_to_install()}")
