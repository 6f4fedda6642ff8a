"""Where the agent runs in each cluster, and how an operator looks at it. Nothing is imported here."""

from __future__ import annotations

from typing import Final

AGENT_NAMESPACE: Final = "fleetbus-system"
AGENT_NAME: Final = "fleetbus-agent"
"""Of its Deployment, its ServiceAccount, its Lease, and the Secret that `fleetbus cluster join` writes."""

AGENT_LOGS: Final = f"kubectl -n {AGENT_NAMESPACE} logs deploy/{AGENT_NAME}"

AGGREGATE_LABEL: Final = "fleetbus.dev/aggregate-to-agent"
"""A ClusterRole with this label, `true`, adds to what the agent may do."""
