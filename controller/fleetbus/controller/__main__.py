"""`python -m fleetbus.controller`."""

from __future__ import annotations

from fleetbus.controller.main import run

if __name__ == "__main__":
    run()
