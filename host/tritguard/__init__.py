"""tritguard: int8 and ternary networks on microcontrollers, attacked and measured on the chip itself."""

from importlib.metadata import version

__version__ = version("tritguard")
