"""The PlatformIO platform that builds tritguard's firmwares."""

import shutil

from platformio.public import PlatformBase

TOOLCHAIN = "toolchain-gccarmnoneeabi"


class TritguardPlatform(PlatformBase):
    def is_embedded(self):
        # PlatformIO says no if none of the packages uploads; here tritguard uploads.
        return True

    def configure_default_packages(self, options, targets):
        if not shutil.which("arm-none-eabi-gcc"):
            self.packages[TOOLCHAIN]["optional"] = False
        return super().configure_default_packages(options, targets)
