"""Firmware images with flipped bits in their weights, booted on the emulated board.

The image is changed on the host before it boots: the firmware has no command that writes memory, and needs none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.faults import Flip, flipped_image
from tritguard.build import Build
from tritguard.device import EmulatorError, emulate
from tritguard.emit import Bundle
from tritguard.emit.weights import find_weights
from tritguard.errors import BadInputError, DeviceError, MismatchError
from tritguard.files import scratch_folder
from tritguard.predictor import Int8, Outputs


class FaultyFirmware:
    """Makes faulty images of a build's firmware and boots them.

    Raises:
        BadInputError: the board has no emulator, the build is of another bundle, or its engine is not the native one.
    """

    def __init__(self, bundle: Bundle, build: Build) -> None:
        if build.record.board.emulator is None:
            what = "faults are put into the image before it boots, which takes an emulated board"
            raise BadInputError(what, where=str(build.path), fix="build for a board with an emulator")
        if build.record.bundle_sha256 != bundle.sha256:
            what = f"was built from another bundle than {bundle.path}"
            raise BadInputError(what, where=str(build.path), fix="give the bundle it was built from, or build it again")
        self.bundle, self.build = bundle, build
        self._arrays = find_weights(build.elf, bundle.manifest)
        self._content = build.elf.read_bytes()

    @property
    def weight_bytes(self) -> int:
        """The number of bytes of weights in flash."""
        return sum(array.size for array in self._arrays)

    def image(self, flips: Sequence[Flip], weights: Mapping[str, NDArray[np.uint8]]) -> bytes:
        """Flip bits in the ELF, and compare its weights with those of a twin that has the same flips.

        Args:
            flips: the bits to flip.
            weights: the twin's arrays with these flips, by symbol.

        Returns:
            The content of the changed ELF.

        Raises:
            MismatchError: firmware and twin differ in a byte of the weights.
        """
        content = flipped_image(self._content, self._arrays, flips)
        for array in self._arrays:
            if array.read(content) != weights[array.symbol].tobytes():
                raise MismatchError(
                    f"firmware and twin hold different bytes in {array.symbol}", where=str(self.build.elf)
                )
        return content

    def answers(self, image: bytes, x: Int8) -> Outputs | None:
        """Boot an image and send it x, int8[n, *input_shape].

        Returns:
            Its answers; None if it crashes or stops answering.
        """
        with scratch_folder() as folder:
            elf = folder / "faulty.elf"
            elf.write_bytes(image)
            try:
                with emulate(self.bundle, self.build, elf=elf) as device:
                    return device.predict(x)
            except EmulatorError:
                raise
            except DeviceError:
                return None
