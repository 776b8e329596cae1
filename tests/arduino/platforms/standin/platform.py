"""The class that PlatformIO asks a platform for."""

from platformio.public import PlatformBase


class StandinPlatform(PlatformBase):
    def is_embedded(self):
        return True
