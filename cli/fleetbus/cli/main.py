"""The door of the script `fleetbus`: completion is answered before anything is imported that it does not need."""

from __future__ import annotations

import sys


def run() -> None:
    """Entry point."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["__complete"]:
        from fleetbus.cli.words import complete

        sys.exit(complete(arguments[1:]))
    from fleetbus.cli.program import main

    sys.exit(main(arguments))
