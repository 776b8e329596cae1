"""tritguard flash."""


def command() -> None:
    """Not written yet."""
    raise NotImplementedError
