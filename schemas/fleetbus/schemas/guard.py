"""The guard: the policy with which a cluster's owner fences the agent. Its name, and what it may be told.

The apiserver enforces it; the agent can neither write nor remove it. See docs/security/guard.md.
"""

from __future__ import annotations

import re
from typing import Final

GUARD: Final = "fleetbus-guard"
"""Name of the ValidatingAdmissionPolicy and of its binding."""

NEVER_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")
"""Closed to the agent whatever the owner allows."""

NAMESPACES: Final = "namespaces"
REGISTRIES: Final = "registries"
AGENT_IMAGES: Final = "agentImages"
SUBRESOURCES: Final = "subresources"
PARAMETERS: Final = (
    NAMESPACES,
    "deniedNamespaces",
    "kinds",
    REGISTRIES,
    AGENT_IMAGES,
    "privileged",
    "roles",
    "deniedRoles",
    "trustedAccounts",
    SUBRESOURCES,
)
"""Variables of the policy that belong to the cluster's owner; each is a list of texts."""

ANY: Final = "*"

_NAMESPACE_PATTERN = re.compile(r"^(\*|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|[a-z0-9][a-z0-9-]{0,61}\*)$")
_REGISTRY = re.compile(
    r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*){0,16}$"
)
_TAG = re.compile(r"(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha(256|512):[a-f0-9]+)?$")
_REFUSED = re.compile(
    r"ValidatingAdmissionPolicy '([^']{1,253})' with binding '[^']{1,253}' denied request: (.*)$", re.DOTALL
)


def is_namespace_pattern(text: str) -> bool:
    """A namespace's name, or the beginning of one and `*`."""
    return _NAMESPACE_PATTERN.fullmatch(text) is not None


def is_registry(text: str) -> bool:
    """A registry's host, with a port or a path if need be, or `*`. Docker Hub is `docker.io`."""
    return text == ANY or _REGISTRY.fullmatch(text) is not None


def repository(image: str) -> str:
    """An image's name in full, without tag and digest: `agent:1` is `docker.io/library/agent`."""
    name = _TAG.sub("", image)
    host, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    is_host = "." in host or ":" in host or host == "localhost"
    return name if is_host else f"docker.io/{name}"


def refusal_of_policy(text: str) -> tuple[str, str] | None:
    """(policy, its sentence) when an apiserver's message is the refusal of a ValidatingAdmissionPolicy."""
    found = _REFUSED.search(text)
    return (found.group(1), found.group(2).strip()) if found else None
