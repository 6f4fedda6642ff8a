"""The policies of a fleet in Vault, and the names of what they speak of. Pure.

Three texts, and nothing else may give a right: one static policy that every cluster has, one for each shared
secret (it belongs to a group, and who is a member may read), and the controller's, which reads no value.

Values lie in one KV v2 mount: a cluster's own below `<realm>/<cluster>/`, shared ones below `shared/`;
so no realm may be named `shared`.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.subjects import ClusterId, document_name

KV_MOUNT = "secret"
SHARED = "shared"

CLUSTER_POLICY = "fleetbus-cluster"
CONTROLLER_POLICY = "fleetbus-controller"
ROLE = "fleetbus-agent"
"""The one role in the mount of each cluster."""

_GROUP_PREFIX = "fleetbus-"
_ENTITY_PREFIX = "fleet_"

# Without the default policy a token needs these to look after itself.
_OWN_TOKEN = """
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
"""


def identity_name(cluster: ClusterId) -> str:
    """What a cluster's mount below `auth/` and its entity are called: labels hold no `_`, so it is unique."""
    if cluster.realm == SHARED:
        raise DocumentInvalid(
            f"a realm cannot be named `{SHARED}`", remedy="shared secrets lie there in Vault"
        )
    return f"{_ENTITY_PREFIX}{cluster.realm}_{cluster.name}"


def identity_metadata(cluster: ClusterId) -> dict[str, str]:
    """The entity's metadata, from which the static policy makes the cluster's own path."""
    return {"realm": _realm(cluster), "cluster": cluster.name}


def own_path(cluster: ClusterId, name: str) -> str:
    """Where a secret for one cluster lies below the KV mount."""
    return f"{_realm(cluster)}/{cluster.name}/{name}"


def shared_path(name: str) -> str:
    """Where a shared secret lies below the KV mount; it may have more below itself."""
    return f"{SHARED}/{document_name(name)}"


def group_name(name: str) -> str:
    """The group whose members read a shared secret."""
    return f"{_GROUP_PREFIX}{document_name(name)}"


def shared_policy_name(name: str) -> str:
    return f"fleetbus-shared-{document_name(name)}"


def cluster_policy() -> str:
    """Every cluster's policy: read below its own path, whichever cluster it is."""
    of = "identity.entity.metadata"
    own = f"{{{{{of}.realm}}}}/{{{{{of}.cluster}}}}"
    return f'path "{KV_MOUNT}/data/{own}/*" {{ capabilities = ["read"] }}\n{_OWN_TOKEN}'


def shared_secret_policy(name: str) -> str:
    """The policy of the group of one shared secret: read it and what lies below it."""
    path = f"{KV_MOUNT}/data/{shared_path(name)}"
    return "".join(f'path "{pattern}" {{ capabilities = ["read"] }}\n' for pattern in (path, f"{path}/*"))


def transit_prefix(fleet: str) -> str:
    """How a fleet's keys in Vault's transit engine begin."""
    return f"fleetbus-{document_name(fleet)}-"


def controller_policy(signing: Sequence[str] = ()) -> str:
    """The controller's policy: say who is in the fleet's groups, find clusters' entities, and no more.

    Only `member_entity_ids` passes, so a group's policies stay what its owner wrote, and a group that the
    controller makes has none. `signing`: keys of the transit engine with which it makes clusters' users.
    """
    keys = "".join(
        f'path "transit/keys/{name}" {{ capabilities = ["read"] }}\n'
        f'path "transit/sign/{name}" {{ capabilities = ["update"] }}\n'
        for name in signing
    )
    return f"""{keys}path "identity/group/name/{_GROUP_PREFIX}*" {{
  capabilities = ["read", "update"]
  allowed_parameters = {{ "member_entity_ids" = [] }}
}}
path "identity/entity/name/{_ENTITY_PREFIX}*" {{ capabilities = ["read"] }}
{_OWN_TOKEN}"""


def _realm(cluster: ClusterId) -> str:
    if cluster.realm == SHARED:
        raise DocumentInvalid(
            f"a realm cannot be named `{SHARED}`", remedy="shared secrets lie there in Vault"
        )
    return cluster.realm
