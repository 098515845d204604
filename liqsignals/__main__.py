"""`python -m liqsignals`: the `liqsignals` command."""

from liqsignals.cli import main

main()
