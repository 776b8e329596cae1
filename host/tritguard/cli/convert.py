"""tritguard convert."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
