"""Where the time goes: instructions and cycles of a firmware, layer by layer and function by function."""

from tritguard.profile.counting import FunctionCount, LayerCount, ModelCount, count, count_model

__all__ = ["FunctionCount", "LayerCount", "ModelCount", "count", "count_model"]
