"""tritguard report."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
