"""tritguard build."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
