"""`python -m fleetbus.agent`."""

import sys

from fleetbus.agent.main import run

sys.exit(run())
