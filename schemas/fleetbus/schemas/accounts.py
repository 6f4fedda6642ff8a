"""The bus's accounts as data, and the claims of accounts and users made from it.

Why the accounts are split: in one shared account any agent deletes any stream, since a direct get's empty
answer goes to whatever reply subject the agent chose, written by the server, where no permission is checked.
Agents and operators reach the account of the streams by imports only.

A user's token is signed by the key of a role and says no permission of its own: the server takes them from the
role's template in the account's claims, with the user's name and key filled in. So who holds a role's key can make
users of that role and nothing else, and a changed permission needs no new token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fleetbus.schemas import limits, presence_subjects, subjects
from fleetbus.schemas.nats_jwt import Claims
from fleetbus.schemas.roles import ROLES, SUBSCRIBER_OF_TYPES, TYPES_TAG, role_tag, types_tag
from fleetbus.schemas.streams import (
    ARTIFACTS,
    DESIRED,
    EVENTS,
    READ_CHARTER,
    Permissions,
    agent_permissions,
    operator_permissions,
    renewer_permissions,
    subscriber_permissions,
    token_permissions,
    types_permissions,
)
from fleetbus.schemas.subjects import ROOT, ClusterId, cluster_name

SYS, FLEET, OPERATORS, ENROL = "SYS", "FLEET", "OPERATORS", "ENROL"
SYSTEM, CONTROLLER, SUBSCRIBER, AGENT = "system", "controller", "subscriber", "agent"
TOKEN, RENEWER = "token", "renewer"

_AGENTS = "AGENTS_"
_NAME, _SUBJECT, _REALM = "{{name()}}", "{{subject()}}", "{{tag(realm)}}"
_TYPES = f"{{{{tag({TYPES_TAG})}}}}"
# Stand in a template's place where a permission is built; neither occurs in any other subject.
_ANY_CLUSTER, _ANY_REALM = "x-any-cluster-x", "x-any-realm-x"
_ANY_KEY = "U" + "A" * 55
_ACCOUNT_KEY = re.compile(rf"\{{\{{({_AGENTS}[a-z0-9-]+)\}}\}}")


@dataclass(frozen=True, slots=True)
class Export:
    """A subject that other accounts may import. `many`: a service that answers with several messages."""

    kind: Literal["service", "stream"]
    subject: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """A subject of another account's. `share`: the service is told by the server who asks.

    `to`: its name in this account, where that is another.
    """

    kind: Literal["service", "stream"]
    subject: str
    share: bool = False
    account: str = FLEET
    to: str = ""


@dataclass(frozen=True, slots=True)
class Role:
    """What users of one kind may do, as a template; None is everything in their account.

    `subscriptions` and `payload_bytes` are of each connection; -1 is what the account has.
    """

    name: str
    permissions: Permissions | None = None
    subscriptions: int = -1
    payload_bytes: int = -1


@dataclass(frozen=True, slots=True)
class Account:
    """One account: -1 is no limit. Subscriptions are counted by connection, connections by account."""

    name: str
    roles: tuple[Role, ...]
    exports: tuple[Export, ...] = ()
    imports: tuple[Import, ...] = ()
    connections: int = -1
    subscriptions: int = -1
    payload_bytes: int = -1
    jetstream: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """Public keys: of each account by name, and of each role by `role_key_name`."""

    accounts: Mapping[str, str]
    roles: Mapping[str, str]


def agents_account(realm: str) -> str:
    """The name of a realm's account. Raises DocumentInvalid."""
    return f"{_AGENTS}{cluster_name(realm)}"


def is_agents(account: str) -> bool:
    """Whether it is a realm's."""
    return account.startswith(_AGENTS)


def role_key_name(account: str, role: str) -> str:
    return f"{account}.{role}"


def room(count: int, least: int) -> int:
    """For how many an account has room: it doubles, so that joining seldom changes the account."""
    while least < count:
        least *= 2
    return least


def accounts(clusters: Mapping[str, int], people: int) -> tuple[Account, ...]:
    """All accounts of a fleet. `clusters`: for how many each realm has room, one realm an account."""
    realms = sorted(clusters)
    return (
        Account(SYS, (Role(SYSTEM),), exports=_presence_exports(realms)),
        Account(
            FLEET,
            (Role(CONTROLLER),),
            exports=_exports(),
            imports=_presence_imports(realms),
            jetstream=True,
        ),
        Account(
            OPERATORS,
            (
                *(Role(role, _template(operator_permissions(_ANY_KEY, role))) for role in ROLES),
                _reader(SUBSCRIBER, subscriber_permissions(_ANY_KEY)),
                _reader(SUBSCRIBER_OF_TYPES, types_permissions(_ANY_KEY, (_TYPES,))),
            ),
            imports=(
                Import("service", subjects.ALL_API, share=True),
                Import("service", subjects.ALL_SERVICES),
                Import("service", subjects.direct_get(EVENTS.name)),
                Import("service", READ_CHARTER),
                Import("stream", subjects.ALL_EVENTS),
            ),
            connections=room(people, limits.LEAST_PEOPLE) * limits.CONNECTIONS_A_PERSON
            + limits.SPARE_CONNECTIONS,
            subscriptions=limits.PERSON_SUBSCRIPTIONS,
            payload_bytes=limits.MAX_PAYLOAD_BYTES,
        ),
        _enrol(),
        *(_agents(realm, count) for realm, count in sorted(clusters.items())),
    )


def _reader(name: str, permissions: Permissions) -> Role:
    return Role(name, _template(permissions), payload_bytes=limits.SMALL_PAYLOAD_BYTES)


def _enrol() -> Account:
    """Who is no member yet, or whose credential has lapsed: it reaches two subjects and nothing else."""
    anybody = ClusterId(_ANY_REALM, _ANY_CLUSTER)
    return Account(
        ENROL,
        (
            Role(TOKEN, _template(token_permissions(anybody, _ANY_KEY))),
            Role(RENEWER, _template(renewer_permissions(anybody, _ANY_KEY))),
        ),
        imports=(
            Import("service", subjects.ALL_ENROLS, share=True),
            Import("service", subjects.ALL_RENEWALS, share=True),
            Import("service", READ_CHARTER, share=True),
        ),
        connections=limits.ENROL_CONNECTIONS,
        subscriptions=limits.ENROL_SUBSCRIPTIONS,
        payload_bytes=limits.SMALL_PAYLOAD_BYTES,
    )


def _agents(realm: str, count: int) -> Account:
    return Account(
        agents_account(realm),
        (
            Role(
                AGENT,
                _template(agent_permissions(ClusterId(realm, _ANY_CLUSTER))),
                subscriptions=limits.AGENT_SUBSCRIPTIONS,
                payload_bytes=limits.MAX_PAYLOAD_BYTES,
            ),
        ),
        imports=(
            *(Import("service", subject, share=True) for subject in _agent_services(realm)),
            Import("stream", f"{ROOT}.nudge.{realm}.*.*"),
            Import("stream", f"{ROOT}.query.{realm}.*"),
        ),
        connections=room(count, limits.LEAST_AGENTS) * limits.CONNECTIONS_AN_AGENT + limits.SPARE_CONNECTIONS,
        subscriptions=limits.AGENT_SUBSCRIPTIONS,
        payload_bytes=limits.MAX_PAYLOAD_BYTES,
    )


def _exports() -> tuple[Export, ...]:
    return (
        *(Export("service", subject) for subject in _agent_services("*")),
        Export("service", subjects.direct_get(EVENTS.name), many=True),
        Export("service", subjects.ALL_API),
        Export("service", subjects.ALL_ENROLS),
        Export("service", subjects.ALL_SERVICES, many=True),
        Export("stream", subjects.ALL_NUDGES),
        Export("stream", subjects.ALL_QUERIES),
        Export("stream", subjects.ALL_EVENTS),
    )


def _presence_exports(realms: Sequence[str]) -> tuple[Export, ...]:
    """What the system's account lets out: who comes to, leaves and is in a realm's account, and nothing else."""
    return tuple(
        one
        for realm in realms
        for one in (
            *(
                Export("stream", presence_subjects.account_advisory(_key_of(realm), word))
                for word in presence_subjects.ADVISORIES
            ),
            Export("service", presence_subjects.account_connections(_key_of(realm)), many=True),
        )
    )


def _presence_imports(realms: Sequence[str]) -> tuple[Import, ...]:
    """So the controller needs no credential of the system's account."""
    return tuple(
        one
        for realm in realms
        for one in (
            *(
                Import(
                    "stream",
                    presence_subjects.account_advisory(_key_of(realm), word),
                    account=SYS,
                    to=presence_subjects.presence(realm, word),
                )
                for word in presence_subjects.ADVISORIES
            ),
            Import(
                "service",
                presence_subjects.account_connections(_key_of(realm)),
                account=SYS,
                to=presence_subjects.realm_connections(realm),
            ),
        )
    )


def _key_of(realm: str) -> str:
    """Stands for the public key of a realm's account, which the data do not know."""
    return f"{{{{{agents_account(realm)}}}}}"


def _filled(subject: str, keys: Keys) -> str:
    """With the accounts' public keys in the places of `_key_of`."""
    return _ACCOUNT_KEY.sub(lambda found: keys.accounts[found[1]], subject)


def _agent_services(realm: str) -> tuple[str, ...]:
    get = subjects.direct_get
    return (
        get(DESIRED.name, f"{ROOT}.desired.{realm}.*"),
        get(DESIRED.name, f"{ROOT}.command.{realm}.*"),
        READ_CHARTER,
        get(ARTIFACTS.name, subjects.ALL_ARTIFACTS),
        get(EVENTS.name, f"{ROOT}.event.{realm}.*.>"),
        f"{ROOT}.state.{realm}.*.*",
        f"{ROOT}.result.{realm}.*",
        f"{ROOT}.heartbeat.{realm}.*",
        f"{ROOT}.answer.{realm}.*",
        f"{ROOT}.renew.{realm}.*",
    )


def _template(permissions: Permissions) -> Permissions:
    def opened(subject: str) -> str:
        for stand_in, filled in ((_ANY_CLUSTER, _NAME), (_ANY_KEY, _SUBJECT), (_ANY_REALM, _REALM)):
            subject = subject.replace(stand_in, filled)
        return subject

    return Permissions(tuple(map(opened, permissions.publish)), tuple(map(opened, permissions.subscribe)))


def operator_claims(operator: str, name: str, signing_key: str, system: str, issued_at: int) -> Claims:
    """The root's own token: which key signs accounts in its place, and which account is the system's.

    Neither the root nor an account's own key signs anything else (`strict`): the latter need not even be kept.
    """
    body = {"signing_keys": [signing_key], "system_account": system, "strict_signing_key_usage": True}
    return Claims("operator", operator, operator, name, issued_at, body=body)


def account_claims(
    account: Account, keys: Keys, signing_key: str, issued_at: int, revoked: Mapping[str, int]
) -> Claims:
    """`revoked`: users' keys, whose tokens count no more when they were issued then or before."""
    body: dict[str, Any] = {
        "limits": _limits(account),
        "signing_keys": [
            _scope(role, keys.roles[role_key_name(account.name, role.name)]) for role in account.roles
        ],
    }
    if account.exports:
        body["exports"] = [_export(one, keys) for one in account.exports]
    if account.imports:
        body["imports"] = [_import(one, keys) for one in account.imports]
    if revoked:
        body["revocations"] = dict(sorted(revoked.items()))
    return Claims("account", keys.accounts[account.name], signing_key, account.name, issued_at, body=body)


def user_claims(
    nkey: str,
    name: str,
    account: str,
    role: str,
    keys: Keys,
    issued_at: int,
    *,
    realm: str = "",
    expires_at: int = 0,
    types: tuple[str, ...] = (),
) -> Claims:
    """A user of a role, whose name, realm (in ENROL) and types stand in its permissions: all are checked here."""
    signing_key = keys.roles[role_key_name(account, role)]
    body: dict[str, Any] = {"issuer_account": keys.accounts[account]}
    tags = [f"realm:{cluster_name(realm)}"] if realm else []
    if account == OPERATORS:
        tags += [role_tag(role), *(types_tag(one) for one in types)]
    if tags:
        body["tags"] = tags
    return Claims("user", nkey, signing_key, cluster_name(name), issued_at, expires_at, body)


def issuing_keys(roles: Sequence[str]) -> tuple[str, ...]:
    """Of a fleet's role keys, by `role_key_name`, those with which the controller makes clusters' users."""
    wanted = {role_key_name(ENROL, TOKEN), role_key_name(ENROL, RENEWER)}
    return tuple(sorted(one for one in roles if one in wanted or one.endswith(f".{AGENT}")))


def _limits(account: Account) -> dict[str, Any]:
    """What is left out is 0 to the server, and nothing is allowed of it: leaf nodes, JetStream, exports."""
    found: dict[str, Any] = {
        "subs": account.subscriptions,
        "data": -1,
        "payload": account.payload_bytes,
        "imports": len(account.imports),
        "exports": len(account.exports),
        "wildcards": bool(account.exports),
        "conn": account.connections,
        "disallow_bearer": True,
    }
    if account.jetstream:
        found |= {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    return found


def _scope(role: Role, key: str) -> dict[str, Any]:
    template: dict[str, Any] = {"subs": role.subscriptions, "data": -1, "payload": role.payload_bytes}
    if role.permissions is not None:
        template["pub"] = {"allow": list(role.permissions.publish)}
        template["sub"] = {"allow": list(role.permissions.subscribe)}
    return {"kind": "user_scope", "key": key, "role": role.name, "template": template, "description": ""}


def _export(export: Export, keys: Keys) -> dict[str, Any]:
    subject = _filled(export.subject, keys)
    answers = {"response_type": "Stream"} if export.many else {}
    return {"name": subject, "subject": subject, "type": export.kind} | answers


def _import(imported: Import, keys: Keys) -> dict[str, Any]:
    subject = _filled(imported.subject, keys)
    sharing = {"share": True} if imported.share else {}
    renamed = {"local_subject": imported.to} if imported.to else {}
    return (
        {
            "name": subject,
            "subject": subject,
            "account": keys.accounts[imported.account],
            "type": imported.kind,
        }
        | sharing
        | renamed
    )
