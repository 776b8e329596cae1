"""tritguard run."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
