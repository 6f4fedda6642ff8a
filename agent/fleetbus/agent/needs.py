"""What the agent's parts need in their cluster, gathered from where each declares it: roles and guard follow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal, get_args

from fleetbus.agent import facts, keep, lease, protection, settings
from fleetbus.agent.catalogue import CAPABILITIES
from fleetbus.agent.ports import Rule

Profile = Literal["observe", "standard", "full"]
"""observe: writes nothing but the agent's own Lease and AgentState. standard: what capabilities need, extended by
ClusterRoles with the label AGGREGATE_LABEL. full: also what gives rights to others, to be fenced by the guard."""

PROFILES: tuple[Profile, ...] = get_args(Profile)

READ = ("get", "list", "watch")
# A request for these has no name, or one that RBAC does not see.
_NAMELESS = ("create", "list", "watch", "deletecollection")
_OWN: tuple[Rule, ...] = (*lease.NEEDS, *keep.NEEDS, *settings.NEEDS, *protection.NEEDS)
"""Without these there is no agent: they hold in every profile."""


def cluster_rules(profile: Profile) -> list[dict[str, Any]]:
    """ClusterRole rules of a profile, one for each set of verbs in an API group."""
    return _merged(rule for rule in _needed(profile) if not rule.home)


def home_rules(profile: Profile) -> list[dict[str, Any]]:
    """Rules of the Role in the agent's own namespace."""
    return _merged(rule for rule in (*_OWN, *_needed(profile)) if rule.home)


def home_writes() -> tuple[str, ...]:
    """`group/resource/name` of what the agent writes in its own namespace; a name may end in `*`."""
    return tuple(
        sorted(
            {
                f"{group}/{resource}/{name}"
                for rule in (*_OWN, *_needed("full"))
                if rule.home and not set(rule.verbs) <= set(READ)
                for group in rule.api_groups
                for resource in rule.resources
                for name in rule.names or ("*",)
            }
        )
    )


def subresources() -> tuple[str, ...]:
    """`resource/subresource` of what the agent writes to."""
    return tuple(
        sorted(
            {
                resource
                for rule in _needed("full")
                if not set(rule.verbs) <= set(READ)
                for resource in rule.resources
                if "/" in resource
            }
        )
    )


def _needed(profile: Profile) -> list[Rule]:
    needs = [*facts.NEEDS, *(rule for capability in CAPABILITIES for rule in capability.needs)]
    if profile != "full":
        needs = [rule for rule in needs if not rule.grants]
    if profile == "observe":
        needs = [rule.only(READ) for rule in needs]
    return [rule for rule in needs if rule.verbs]


def _merged(needs: Iterable[Rule]) -> list[dict[str, Any]]:
    verbs: defaultdict[tuple[str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    for rule in needs:
        # RBAC knows no patterns: the guard keeps to them.
        names = () if any(name.endswith("*") for name in rule.names) else rule.names
        for group in rule.api_groups:
            for resource in rule.resources:
                for verb in rule.verbs:
                    verbs[(group, resource, () if verb in _NAMELESS else names)].add(verb)
    together: defaultdict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource, names), allowed in sorted(verbs.items()):
        together[(group, tuple(sorted(allowed)), names)].append(resource)
    return [
        {
            "apiGroups": [group],
            "resources": resources,
            **({"resourceNames": list(names)} if names else {}),
            "verbs": list(allowed),
        }
        for (group, allowed, names), resources in sorted(together.items())
    ]
