"""Runs the emitted C as a host library: the device's data and arithmetic, fast enough for attacks."""

from tritguard.twin.library import Twin
from tritguard.twin.memory import OpenTwin
from tritguard.twin.speed import Speed, measure_speed
from tritguard.twin.verify import verify_against_oracle

__all__ = ["OpenTwin", "Speed", "Twin", "measure_speed", "verify_against_oracle"]
