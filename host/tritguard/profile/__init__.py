"""Shows where a firmware spends its time: instructions and cycles of every layer and function."""

from tritguard.profile.counting import FunctionCount, LayerCount, ModelCount, count, count_model
from tritguard.profile.measure import CycleEstimate, ExpectedCycles, estimate_cycles, expected_cycles, profile
from tritguard.profile.record import FunctionWork, LayerWork, Profile, Work

__all__ = [
    "CycleEstimate",
    "ExpectedCycles",
    "FunctionCount",
    "FunctionWork",
    "LayerCount",
    "LayerWork",
    "ModelCount",
    "Profile",
    "Work",
    "count",
    "count_model",
    "estimate_cycles",
    "expected_cycles",
    "profile",
]
