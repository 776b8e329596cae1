"""tritguard boards."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
