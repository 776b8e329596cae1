"""tritguard attack."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
