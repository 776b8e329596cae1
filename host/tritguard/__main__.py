"""The entry point of `python -m tritguard`."""

from tritguard.cli import main

if __name__ == "__main__":  # the processes that craft attacks import this module again and must not start the CLI
    main()
