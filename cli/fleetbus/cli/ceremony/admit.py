"""A cluster's user on the bus: who may have which name, and when its token was issued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fleetbus.cli.ceremony.init import account_key
from fleetbus.cli.ceremony.issue import agent_claims
from fleetbus.cli.ceremony.keys import SigningKeys
from fleetbus.cli.ceremony.record import FleetRecord, Member, changing, read_record, write_record
from fleetbus.schemas.accounts import AGENT, agents_account, role_key_name
from fleetbus.schemas.errors import AlreadyExists, Refused
from fleetbus.schemas.nats_jwt import verify
from fleetbus.schemas.nkeys import Kind, key_of_seed, public_key
from fleetbus.schemas.subjects import MAIN, ClusterId


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Which cluster, with which labels. `bus_servers` when agents reach the bus by other addresses.

    `stored_uid`: what the controller knows of that name, '' for nothing. `replace`: whatever had the name gives
    way. Raises DocumentInvalid for what cannot name a cluster.
    """

    name: str
    realm: str = MAIN
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    bus_servers: tuple[str, ...] = ()
    stored_uid: str = ""
    replace: bool = False

    def __post_init__(self) -> None:
        ClusterId(self.realm, self.name)

    @property
    def id(self) -> ClusterId:
        return ClusterId(self.realm, self.name)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a cluster is: its UID, the public keys of its tokens, its agent's seed and the token that goes with it.

    `token` is '' for one that has none yet.
    """

    uid: str
    token_keys: tuple[str, ...]
    seed: str = field(repr=False)
    token: str = ""

    @property
    def nkey(self) -> str:
        return public_key(key_of_seed(self.seed))


async def admit(
    folder: Path, request: JoinRequest, identity: Identity, keys: SigningKeys, now: datetime
) -> tuple[FleetRecord, Member]:
    """Put the cluster's user into the record. Raises AlreadyExists; then nothing has changed."""
    member = Member(realm=request.realm, name=request.name, nkey=identity.nkey, uid=identity.uid)
    refuse_another(read_record(folder), request, member)
    await _ensure_realm(folder, request.realm, keys)
    with changing(folder):
        known = read_record(folder)
        refuse_another(known, request, member)
        member = member.model_copy(update={"issued": _issued(known, member, identity.token, now)})
        admitted = known.with_member(member, now)
        write_record(folder, admitted)
    return admitted, member


def _issued(record: FleetRecord, member: Member, token: str, now: datetime) -> int:
    """When the member's token was issued, if the one that it has is right and counts; else now.

    Later than what was revoked of this key, so that a cluster that was removed can join again.
    """
    revoked_at = record.revoked_at(agents_account(member.realm), member.nkey)
    try:
        there = verify(token)
    except Refused:
        there = None
    if there and there.issued_at > revoked_at and there.says_the_same(agent_claims(record, member)):
        return there.issued_at
    return max(int(now.timestamp()), revoked_at + 1)


def refuse_another(record: FleetRecord, request: JoinRequest, member: Member) -> None:
    """A name never passes silently from one cluster to another, nor a cluster to a second name.

    Raises AlreadyExists.
    """
    for one in record.clusters:
        if one.id != member.id and (one.nkey == member.nkey or one.uid == member.uid):
            raise AlreadyExists(
                f"this cluster has joined as `{one.name}`",
                where=f"kube-system {member.uid}",
                remedy=f"remove it first: fleetbus cluster remove {one.name}",
            )
    if request.replace:
        return
    known = next((one for one in record.clusters if one.id == member.id), None)
    uids = {uid for uid in (known.uid if known else "", request.stored_uid) if uid}
    # Of one that joined before its UID was kept, the key in its Secret says whether it is the same.
    unknown = known is not None and not uids and known.nkey != member.nkey
    if unknown or uids - {member.uid}:
        raise AlreadyExists(
            f"another cluster has joined as `{member.name}`",
            where=f"kube-system {member.uid}",
            remedy="take another name, or give --replace if this one stands in its place",
        )


async def _ensure_realm(folder: Path, realm: str, keys: SigningKeys) -> None:
    """The account of a realm's agents; made with its first cluster."""
    account = agents_account(realm)
    role = role_key_name(account, AGENT)
    known = read_record(folder)
    if account in known.accounts and role in known.roles:
        return
    signer = await keys.ensure(role, Kind.ACCOUNT)
    with changing(folder):
        known = read_record(folder)
        accounts = {account: account_key()} | known.accounts
        roles = known.roles | {role: signer.public_key}
        write_record(folder, known.model_copy(update={"accounts": accounts, "roles": roles}))
