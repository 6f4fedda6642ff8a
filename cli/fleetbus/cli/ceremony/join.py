"""`fleetbus cluster join`: one cluster's user on the bus, mount and entity in Vault, agent, and document.

In this order, so that the agent finds everything when it starts. Every step can be repeated: a cluster that has
joined keeps its key, which lies in its own Secret and nowhere else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.admit import Identity, JoinRequest, admit
from fleetbus.cli.ceremony.agent_pod import NAME, NAMESPACE
from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.folder import authority_file
from fleetbus.cli.ceremony.issue import Say, agent_token, issue
from fleetbus.cli.ceremony.keys import SigningKeys
from fleetbus.cli.ceremony.online import Push
from fleetbus.cli.ceremony.record import FleetRecord, read_record
from fleetbus.runtime.jwks import public_keys
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas import vault_policies
from fleetbus.schemas.accounts import agents_account
from fleetbus.schemas.capabilities.secrets import VAULT_AUDIENCE
from fleetbus.schemas.documents import API_VERSION
from fleetbus.schemas.errors import NotFound, ObjectInvalid, SettingsInvalid
from fleetbus.schemas.nkeys import key_of_seed, seed_of
from fleetbus.schemas.subjects import ClusterId

if TYPE_CHECKING:
    from fleetbus.runtime.vault_admin import VaultAdmin

FIELD_MANAGER = "fleetbus-join"
LOGIN_TTL_S = 1200

_NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)
_SECRETS = Resource("", "v1", "secrets", "Secret", True)
# What others need before they can be applied, by kind.
_FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "Role")


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of it. `document` is for `apply`; `objects` went (or are to go) into the cluster."""

    document: Mapping[str, Any]
    nkey: str
    uid: str
    objects: Sequence[Mapping[str, Any]] = field(repr=False)


async def join(
    request: JoinRequest,
    folder: Path,
    kube: Kube,
    manifests: Sequence[Mapping[str, Any]],
    keys: SigningKeys,
    now: datetime,
    *,
    vault: VaultAdmin | None = None,
    push: Push | None = None,
    write_objects: bool = True,
    say: Say = lambda line: None,
) -> Joined:
    """Everything but the document, which the caller gives to the controller.

    `write_objects` False leaves the cluster untouched: the objects are in the answer, the seed among them.
    Raises NotFound (no fleet in the folder), AlreadyExists (another cluster has the name), KubeUnavailable,
    ApplyRefused, VaultUnavailable, VaultForbidden, BusUnavailable.
    """
    read_record(folder)
    found = await read_identity(kube)
    record, member = await admit(folder, request, found, keys, now)
    identity = replace(found, token=await agent_token(record, member, keys))
    # Most joins change no account: its role's key has signed for the cluster, and the bus knows that key.
    changed = await issue(folder, keys, now, say)
    if request.replace and not changed:
        # Perhaps somebody who replaced it could not tell the bus.
        changed = (agents_account(request.realm),)
    if changed and push is not None:
        await push(changed)
        say(f"bus told of {', '.join(changed)}")
    entity = ""
    if vault is not None:
        entity = await make_vault_identity(vault, request.id, identity, say)
    objects = [*in_order(manifests), secret(record, folder, request, identity, with_vault=vault is not None)]
    if write_objects:
        await apply_objects(kube, objects)
        say(f"{len(objects)} objects of the agent applied in namespace {NAMESPACE}")
    document = cluster_document(request, identity, entity)
    return Joined(document, identity.nkey, identity.uid, objects)


async def read_identity(kube: Kube) -> Identity:
    """UID of kube-system, the keys that sign its tokens, and the seed of a former join or a new one."""
    system = await kube.get(_NAMESPACES, "", "kube-system", metadata_only=True)
    keys = public_keys(await kube.read_path("/openid/v1/jwks"))
    return Identity(str(system["metadata"]["uid"]), tuple(keys), *await _credential(kube))


async def _credential(kube: Kube) -> tuple[str, str]:
    """Seed and token of a former join; a new seed and no token without one."""
    try:
        values = (await kube.get(_SECRETS, NAMESPACE, NAME)).get("data") or {}
    except NotFound:
        values = {}
    try:
        seed, token = (
            base64.b64decode(values.get(key, ""), validate=True).decode().strip() for key in ("seed", "jwt")
        )
        key_of_seed(seed)
    except (ValueError, SettingsInvalid):
        return seed_of(SigningKey.generate()), ""
    return seed, token


async def make_vault_identity(
    vault: VaultAdmin, cluster: ClusterId, identity: Identity, say: Say = lambda line: None
) -> str:
    """Mount with the cluster's key set, entity with its metadata, alias, role; the entity's id."""
    name = vault_policies.identity_name(cluster)
    subject = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    accessor = await vault.enable_jwt_mount(name, identity.token_keys)
    entity = await vault.ensure_entity(name, vault_policies.identity_metadata(cluster))
    await vault.ensure_entity_alias(entity, accessor, subject)
    await vault.write_role(
        name,
        vault_policies.ROLE,
        bound_subject=subject,
        bound_audiences=[VAULT_AUDIENCE],
        token_policies=[vault_policies.CLUSTER_POLICY],
        ttl_s=LOGIN_TTL_S,
    )
    say(f"Vault has the mount auth/{name} and its entity")
    return entity


def secret(
    record: FleetRecord, folder: Path, request: JoinRequest, identity: Identity, *, with_vault: bool
) -> dict[str, Any]:
    """The Secret from which the agent takes its settings. It holds the seed."""
    values = {
        "seed": identity.seed,
        "jwt": identity.token,
        "fleet": record.fleet,
        "realm": request.realm,
        "cluster": request.name,
        "uid": identity.uid,
        "bus-servers": ",".join(request.bus_servers or record.bus_servers),
        "bus-ca": read_text(authority_file(folder)),
        "controller-keys": ",".join(record.signing_keys),
        "epoch": str(record.epoch),
    }
    if with_vault and record.vault is not None:
        values |= {
            "vault-address": record.vault.address,
            "vault-ca": record.vault.ca,
            "vault-mount": vault_policies.identity_name(request.id),
            "vault-role": vault_policies.ROLE,
        }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": NAME, "app.kubernetes.io/managed-by": "fleetbus"},
        },
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def cluster_document(request: JoinRequest, identity: Identity, entity: str) -> dict[str, Any]:
    """The Cluster document."""
    spec = {"realm": request.realm, "key": identity.nkey, "uid": identity.uid}
    if entity:
        spec["vaultEntity"] = entity
    if request.owner:
        spec["owner"] = request.owner
    return {
        "apiVersion": API_VERSION,
        "kind": "Cluster",
        "metadata": {"name": request.name, "labels": dict(request.labels)},
        "spec": spec,
    }


def in_order(manifests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Namespaces and what others need first; a Deployment comes after what it refers to."""

    def rank(manifest: Mapping[str, Any]) -> int:
        kind = manifest.get("kind")
        return _FIRST.index(kind) if kind in _FIRST else len(_FIRST) + (kind == "Deployment")

    return sorted(manifests, key=rank)


async def apply_objects(kube: Kube, objects: Sequence[Mapping[str, Any]]) -> None:
    """Server-side, the Secret before the Deployment so that the first pod starts at once."""
    secrets_first = sorted(objects, key=lambda one: one.get("kind") == "Deployment")
    for manifest in secrets_first:
        metadata = manifest.get("metadata") or {}
        if not manifest.get("kind") or not metadata.get("name"):
            raise ObjectInvalid("an agent's manifest has no kind or no name")
        resource = await kube.resource(str(manifest["apiVersion"]), str(manifest["kind"]))
        namespace = str(metadata.get("namespace") or NAMESPACE) if resource.namespaced else ""
        await kube.apply(
            resource,
            namespace,
            str(metadata["name"]),
            dict(manifest),
            field_manager=FIELD_MANAGER,
            force=True,
        )
