"""Secrets: from Vault into the cluster's Secrets, read by the cluster's own identity.

What may enter: what an agent does about SecretBindings. Decided here: only a signed revocation or retirement
removes a Secret; Vault that is away, sealed or forbids keeps the last good one; a halt of everything holds
writes but not a revocation; a Secret that is not ours is never touched.
"""

from fleetbus.agent.capabilities.secrets.transitions import transitions
from fleetbus.agent.capabilities.secrets.withdrawal import withdrawn
from fleetbus.agent.capabilities.secrets.worker import Secrets
from fleetbus.agent.ports import Capability, Rule
from fleetbus.schemas.capabilities import secrets as schema

CAPABILITY = Capability(
    name=schema.CAPABILITY,
    section_version=schema.SECTION_VERSION,
    aspects=schema.ASPECTS,
    needs=(
        Rule(("",), ("secrets",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule(("",), ("namespaces",), ("get",)),
    ),
    start=Secrets,
    transitions=transitions,
    withdraws=withdrawn,
)
