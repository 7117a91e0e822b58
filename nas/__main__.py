"""`python -m nas` is `nas`."""

from nas.cli.main import main

main()
