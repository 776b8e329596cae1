"""tritguard doctor."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
