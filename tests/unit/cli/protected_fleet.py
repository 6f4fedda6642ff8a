"""Two protected clusters with a set, a removal and a command that wait, as the controller answers of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fleetbus.schemas.approvals import ApprovalKind, Approver, ProtectionState, Waiting, command_digest
from fleetbus.schemas.approvals_api import ApprovalRow, ApprovalsResult
from fleetbus.schemas.artifacts import Artifact, artifact
from fleetbus.schemas.capabilities.bundles import BundleEntry, BundlesSection
from fleetbus.schemas.capabilities.secrets import SecretEntry, SecretsSection
from fleetbus.schemas.desired import Command, DesiredSet, Retired, SectionRef
from fleetbus.schemas.nkeys import public_key
from tests.approvers import NAMES
from tests.bundles_stand import config_map
from tests.unit.cli.fleet_of_three import Answers

AT = datetime(2026, 11, 30, 9, tzinfo=UTC)
COMMAND = Command(
    id="01kb5xq7t2m4a9zc",
    driver="job",
    arguments={"image": "registry.example.com/upgrade:1.37"},
    issued_at=AT,
    deadline=AT + timedelta(minutes=30),
    issued_by="admin",
    reason="CHG-312",
)


class Told:
    """A set with its contents, as the controller stores them."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def put(self, value: Any) -> Artifact:
        made = artifact(value)
        self.contents[made.name] = made.content
        return made

    def entry(self, name: str, revision: str, *objects: dict[str, Any], **fields: Any) -> BundleEntry:
        rendered = self.put({"objects": list(objects)})
        given = {"id": f"id-{name}", "name": name, "generation": 1, "revision": revision, **fields}
        return BundleEntry.model_validate({**given, "artifact": rendered.name, "objects": len(objects)})

    def set(self, *entries: BundleEntry, secrets: tuple[SecretEntry, ...] = (), **fields: Any) -> str:
        bundles = self.put(BundlesSection(bundles=entries).as_json())
        bound = self.put(SecretsSection(secrets=secrets).as_json())
        sections = {
            "bundles": SectionRef(version=1, digest=bundles.name),
            "secrets": SectionRef(version=1, digest=bound.name),
        }
        return self.put(DesiredSet(sections=sections, **fields).as_json()).name


def waiting(kind: ApprovalKind, digest: str, *by: str, **fields: Any) -> Waiting:
    return Waiting(kind=kind, digest=digest, need=2, approved_by=by, **fields)


def row(cluster: str, set_: str, *open_: Waiting, **fields: Any) -> ApprovalRow:
    approvers = tuple(Approver(name=name, key=public_key(key)) for name, key in NAMES.items())
    state = ProtectionState(required=2, approvers=approvers, turn=7, set=set_, waiting=open_)
    given = {"cluster": cluster, "realm": "main", "uid": f"kube-{cluster}", "protection": state, **fields}
    return ApprovalRow.model_validate(given)


def protected() -> Answers:
    """`dev-eu` and `prod-us` wait with the same set; `prod-us` with a removal and a command as well."""
    told = Told()
    secret = SecretEntry(
        id="s1",
        name="payments-db",
        generation=1,
        path="shared/payments-db",
        namespace="payments",
        secret="db",
    )
    shop = [config_map(name, "shop", v="1") for name in ("kept", "changed", "old")]
    before = told.set(
        told.entry("shop", "main@sha1:4be81d0aaaaaaa", *shop),
        told.entry("gone", "main@sha1:4be81d0aaaaaaa", config_map("last", "gone")),
    )
    retired = Retired(capability="bundles", id="id-gone", name="gone", policy="Remove", count=3)
    renewed = [shop[0], config_map("changed", "shop", v="2"), config_map("new\x1b[2J", "shop", v="1")]
    after = told.set(
        told.entry("shop", "main@sha1:77aa001bbbbbbb", *renewed), secrets=(secret,), retired=(retired,)
    )
    of_set = waiting("set", after, "ana")
    prune = waiting("prune", before, prunes={"id-shop": 2})
    ordered = waiting("command", command_digest(COMMAND), command=COMMAND.id)
    rows = (
        row("dev-eu", before, of_set),
        row("prod-us", before, of_set, prune, ordered, commands=(COMMAND,)),
    )
    return Answers(approvals=ApprovalsResult(fleet="demo", rows=rows), artifacts=told.contents)
