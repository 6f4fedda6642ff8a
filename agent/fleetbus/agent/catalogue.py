"""One line a capability. Importing a module registers nothing; this tuple does."""

from __future__ import annotations

from fleetbus.agent.capabilities.bundles import CAPABILITY as BUNDLES
from fleetbus.agent.capabilities.commands import CAPABILITY as COMMANDS
from fleetbus.agent.capabilities.secrets import CAPABILITY as SECRETS
from fleetbus.agent.ports import Capability

CAPABILITIES: tuple[Capability, ...] = (BUNDLES, SECRETS, COMMANDS)
