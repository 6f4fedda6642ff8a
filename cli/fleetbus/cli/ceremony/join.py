"""A cluster's place in the fleet, prepared: the join token, the agent's objects with it, and Vault's part.

The token's seed is made here and shown to the controller by its public key only. The cluster's own key is made by its
agent, and never leaves the cluster.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.agent_pod import NAME, NAMESPACE
from fleetbus.cli.ceremony.issue import Say
from fleetbus.runtime.ports import Kube, Resource
from fleetbus.schemas import vault_policies
from fleetbus.schemas.capabilities.secrets import VAULT_AUDIENCE
from fleetbus.schemas.enrolment import DEFAULT_TOKEN_TTL_S, JoinToken
from fleetbus.schemas.enrolment_api import AdmittedTokenResult, TokenRequest
from fleetbus.schemas.errors import NotPossible, ObjectInvalid, SettingsInvalid
from fleetbus.schemas.nkeys import public_key, seed_of
from fleetbus.schemas.subjects import MAIN, ClusterId

if TYPE_CHECKING:
    from fleetbus.runtime.vault_admin import VaultAdmin

FIELD_MANAGER = "fleetbus-join"
LOGIN_TTL_S = 1200

_NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)
# What others need before they can be applied, by kind.
_FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "Role")


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Which cluster is to join, as what. `uid`: the only kube-system that may, '' for whichever comes first.

    `replace`: whatever has the name gives way. Raises DocumentInvalid for what cannot name a cluster.
    """

    name: str
    realm: str = MAIN
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    uid: str = ""
    ttl_s: float = DEFAULT_TOKEN_TTL_S
    approve: bool = False
    replace: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        ClusterId(self.realm, self.name)

    @property
    def id(self) -> ClusterId:
        return ClusterId(self.realm, self.name)

    def asked(self, key: SigningKey) -> TokenRequest:
        """What the controller is asked."""
        return TokenRequest(
            name=self.name,
            realm=self.realm,
            key=public_key(key),
            ttl_s=self.ttl_s,
            uid=self.uid,
            approve=self.approve,
            replace=self.replace,
            labels=dict(self.labels),
            owner=self.owner,
            reason=self.reason or "cluster join",
        )


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a token makes its agent believe: where the bus is, by which authority, and whose signatures count.

    `controller_keys` and `root` are those that are known here, from the fleet's folder or the context; empty when
    none are.
    """

    bus_servers: tuple[str, ...]
    bus_ca: str
    controller_keys: tuple[str, ...] = ()
    insecure: bool = False
    root: str = ""


def join_token(
    request: JoinRequest, key: SigningKey, admitted: AdmittedTokenResult, pinned: Pinned
) -> JoinToken:
    """Raises SettingsInvalid when the controller that answered is not the one that is known here."""
    keys = admitted.controller_keys
    if pinned.controller_keys and not set(keys) <= set(pinned.controller_keys):
        raise SettingsInvalid(
            "what answered has another signing key than the controller that is known here",
            remedy="if its key was changed, take the context from the fleet's owner again",
        )
    if pinned.root and admitted.root != pinned.root:
        raise SettingsInvalid(
            "what answered names another root than the fleet that is known here",
            remedy="the agent would obey whatever that root signs: look who answers",
        )
    return JoinToken(
        id=admitted.id,
        fleet=admitted.fleet,
        realm=request.realm,
        cluster=request.name,
        uid=request.uid,
        bus_servers=pinned.bus_servers,
        bus_ca=pinned.bus_ca,
        insecure_dev=pinned.insecure,
        controller_keys=keys,
        epoch=admitted.epoch,
        root=admitted.root,
        vault=admitted.vault,
        seed=seed_of(key),
        jwt=admitted.jwt,
        certificate=admitted.certificate,
        expires_at=admitted.expires_at,
    )


async def read_uid(kube: Kube) -> str:
    """The UID of kube-system: which cluster this is."""
    system = await kube.get(_NAMESPACES, "", "kube-system", metadata_only=True)
    return str(system["metadata"]["uid"])


def joining_objects(
    manifests: Sequence[Mapping[str, Any]], token: JoinToken, proxy: str = ""
) -> list[Mapping[str, Any]]:
    """The agent's objects in the order in which they can be applied, the Secret with the token among them."""
    return in_order([*manifests, secret(token, proxy)])


def secret(token: JoinToken, proxy: str = "") -> dict[str, Any]:
    """The Secret in which the agent finds the token, and puts what it becomes; with the way through a proxy."""
    data = {"token": token.text()} | ({"bus-proxy": proxy} if proxy else {})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": NAME, "app.kubernetes.io/managed-by": "fleetbus"},
        },
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


async def make_vault_identity(
    vault: VaultAdmin, cluster: ClusterId, token_keys: Sequence[str], say: Say = lambda line: None
) -> str:
    """Mount with the cluster's key set, entity with its metadata, alias, role; the entity's id.

    Raises NotPossible for one whose revocation was begun, which nobody may undo by joining.
    """
    name = vault_policies.identity_name(cluster)
    subject = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    entity = await vault.ensure_entity(name, vault_policies.identity_metadata(cluster))
    if await vault.is_disabled(name):
        raise NotPossible(
            "Vault's entity of this name is disabled: a cluster was revoked, and not all of it was done",
            where=f"identity/entity/name/{name}",
            remedy=f"fleetbus cluster revoke {cluster.name} again, then join with a new token",
        )
    accessor = await vault.enable_jwt_mount(name, token_keys)
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


def in_order(manifests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Namespaces and what others need first; a Deployment comes after what it refers to."""

    def rank(manifest: Mapping[str, Any]) -> int:
        kind = manifest.get("kind")
        return _FIRST.index(kind) if kind in _FIRST else len(_FIRST) + (kind == "Deployment")

    return sorted(manifests, key=rank)


async def apply_objects(kube: Kube, objects: Sequence[Mapping[str, Any]]) -> None:
    """Server-side, in their order."""
    for manifest in objects:
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
