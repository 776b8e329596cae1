"""A bundle's C, for those who compile it: a bundle is a program, and it may come from anybody."""

from __future__ import annotations

from tritguard import __version__
from tritguard.emit.bundle import Bundle
from tritguard.emit.native import generate
from tritguard.errors import BadInputError


def trusted_sources(bundle: Bundle) -> dict[str, bytes]:
    """Read a bundle's C files, by name, and make sure that they are what this version generates from its model.

    C that tritguard generates does nothing but compute the model, whoever made the model. A bundle that was opened with
    trust is taken as it is. The version that the files name is not compared: a bundle of an earlier version stays good
    for as long as this one writes the same C.

    Raises:
        BadInputError: the files differ, and the bundle was opened without trust.
    """
    found = {file.name: file.read_bytes() for file in sorted(bundle.c_dir.iterdir())}
    if bundle.trusted:
        return found
    manifest = bundle.manifest
    expected = generate(bundle.model_path.read_bytes(), bundle.emission, manifest.name, manifest.tritguard)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise BadInputError(
                f"c/{name} is not what tritguard {__version__} generates from the model, so it is not compiled",
                where=str(bundle.path),
                fix="convert its model.tflite again, or give --trust if you know who made the bundle",
            )
    return found
