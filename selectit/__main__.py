"""`python -m selectit`."""

from selectit.cli.app import main

main()
