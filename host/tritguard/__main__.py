"""`python -m tritguard`."""

from tritguard.cli import main

main()
