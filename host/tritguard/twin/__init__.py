"""The emitted C as a host library: the same data and arithmetic as the device, fast enough to attack."""

from tritguard.twin.library import Twin
from tritguard.twin.memory import OpenTwin
from tritguard.twin.speed import Speed, measure_speed
from tritguard.twin.verify import verify_against_oracle

__all__ = ["OpenTwin", "Speed", "Twin", "measure_speed", "verify_against_oracle"]
