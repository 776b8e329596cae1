"""tritguard: int8 and ternary networks on microcontrollers, attacked and measured on the chip itself."""


def __getattr__(name: str) -> str:
    """Look `__version__` up in the installed package when it is asked for: the command line starts faster without."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("tritguard")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
