"""The entry point of `python -m tritguard`."""

from tritguard.cli import main

if __name__ == "__main__":
    main()
