"""`python -m selectit`."""

from selectit.cli import main

main()
