"""Who may read a shared secret: the entities of every cluster on which any binding of it is placed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fleetbus.controller.capabilities.secrets.placing import placed_on
from fleetbus.controller.ports import ClusterView, Ports, View
from fleetbus.schemas.canonical import canonical, digest
from fleetbus.schemas.capabilities import secrets as words
from fleetbus.schemas.capabilities.clusters import ClusterSpec
from fleetbus.schemas.capabilities.secrets import SecretBindingDetails, SecretBindingSpec
from fleetbus.schemas.conditions import Status
from fleetbus.schemas.documents import Stored
from fleetbus.schemas.errors import FleetbusError, NotFound, Transient, VaultForbidden

ASK_AGAIN = timedelta(minutes=5)
"""How often a group that should be right is looked at, in case somebody else changed it."""
RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Told:
    """What came of telling Vault. `done`: the group has exactly the members that it shall have.

    `shared`: the secret whose group it is about.
    """

    done: bool
    status: Status
    reason: str
    message: str
    members: str = ""
    asked_at: datetime | None = None
    shared: str = ""


def entitled(shared: str, view: View) -> dict[str, str]:
    """Cluster → entity of all that may read it; an empty entity where the cluster has none."""
    found: dict[str, str] = {}
    for document, spec in _bindings(view):
        if spec.vault.shared == shared and document.deleting is None and not document.revoked:
            for name in placed_on(document, spec, view):
                found[name] = _entity(view.clusters[name])
    return found


async def tell(
    shared: str, view: View, ports: Ports, before: SecretBindingDetails, now: datetime, *, asked: bool
) -> Told:
    """Make the group's members those that are entitled. Every failure becomes a sentence."""
    members = entitled(shared, view)
    wanted = frozenset(entity for entity in members.values() if entity)
    name = digest(canonical(sorted(wanted)))
    fresh = before.bound_at is not None and now - before.bound_at < ASK_AGAIN
    if before.members == name and fresh and not asked:
        return _entities(members, Told(True, "True", words.REASON_BOUND, "", name, before.bound_at))
    if ports.groups is None:
        message = "the controller has no token for Vault, so shared secrets cannot be granted or withdrawn"
        return Told(False, "Unknown", words.REASON_VAULT_UNAVAILABLE, message)
    group = f"{words.GROUP_PREFIX}{shared}"
    try:
        if await ports.groups.group_members(group) != wanted:
            await ports.groups.set_group_members(group, sorted(wanted))
    except NotFound:
        message = f"nobody has shared `{shared}`; its owner does with fleetbus secret share {shared}"
        return Told(False, "False", words.REASON_GROUP_MISSING, message)
    except Transient as error:
        return Told(False, "Unknown", words.REASON_VAULT_UNAVAILABLE, error.sentence())
    except VaultForbidden as error:
        message = f"the controller's token may not change the group {group}: {error.sentence()}"
        return Told(False, "False", words.REASON_FORBIDDEN, message)
    except FleetbusError as error:
        return Told(False, "False", words.REASON_FORBIDDEN, error.sentence())
    return _entities(members, Told(True, "True", words.REASON_BOUND, "", name, now))


async def withdraw(shared: str, view: View, ports: Ports, now: datetime) -> Told | None:
    """Leave the group of the secret that a binding named before to who is still entitled; None once that is done."""
    told = await tell(shared, view, ports, SecretBindingDetails(), now, asked=True)
    if told.done or told.reason == words.REASON_GROUP_MISSING:
        return None
    message = f"its clusters may still read `{shared}`, which it named before: {told.message}"
    return replace(told, message=message, shared=shared)


def _entities(members: dict[str, str], told: Told) -> Told:
    """Clusters without an entity cannot be granted anything."""
    without = [name for name, entity in sorted(members.items()) if not entity]
    if not without:
        return told
    names = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
    message = f"no entity in Vault is known of {names}; fleetbus cluster vault {without[0]} makes it"
    return Told(True, "False", words.REASON_ENTITY_MISSING, message, told.members, told.asked_at)


def sharing(shared: str, view: View) -> Iterator[Stored]:
    """Every binding of a shared secret."""
    for document, spec in _bindings(view):
        if spec.vault.shared == shared:
            yield document


def _bindings(view: View) -> Iterator[tuple[Stored, SecretBindingSpec]]:
    for document in view.of_kind("SecretBinding"):
        yield document, SecretBindingSpec.model_validate(document.spec)


def _entity(cluster: ClusterView) -> str:
    return ClusterSpec.model_validate(cluster.document.spec).vault_entity
