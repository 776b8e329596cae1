"""The installed versions of the packages that decide numbers."""

from __future__ import annotations

import functools
import importlib.metadata

from tritguard import __version__

_PACKAGES = ("numpy", "tensorflow-cpu", "tensorflow", "adversarial-robustness-toolbox", "tflite-micro", "platformio")


def versions() -> dict[str, str]:
    """The installed versions of the packages that decide the numbers."""
    installed = {name: _installed(name) for name in _PACKAGES}
    return {"tritguard": __version__} | {name: found for name, found in installed.items() if found is not None}


@functools.cache  # each crafted job asks, and a package's metadata is parsed as a mail header, which is slow
def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
