"""`python -m tritguard`."""

from tritguard.cli import main

if __name__ == "__main__":  # a process that crafts attacks loads this module again, to find what it is to run
    main()
