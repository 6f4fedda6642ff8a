"""A cluster that is known to a real OpenBao: keys, mount, role, entity, alias, and tokens signed for it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.vault import VaultAccess
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import vault_policies as policies
from fleetbus.schemas.subjects import ClusterId

SUBJECT = "system:serviceaccount:fleetbus-system:fleetbus-agent"
AUDIENCE = "vault"


@dataclass(frozen=True, slots=True)
class VaultCluster:
    """What its agent has, and its entity's id."""

    cluster: ClusterId
    access: VaultAccess
    entity_id: str
    key: rsa.RSAPrivateKey

    @property
    def identity(self) -> str:
        return policies.identity_name(self.cluster)


async def join(
    admin: VaultAdmin, cluster: ClusterId, address: str, ca_file: Path, folder: Path, *, ttl_s: int = 3600
) -> VaultCluster:
    """What the ceremony does for one cluster, with a key pair of its own in the API server's place."""
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    name = policies.identity_name(cluster)
    await admin.write_policy(policies.CLUSTER_POLICY, policies.cluster_policy())
    accessor = await admin.enable_jwt_mount(name, [public.decode()])
    await admin.write_role(
        name,
        policies.ROLE,
        bound_subject=SUBJECT,
        bound_audiences=[AUDIENCE],
        token_policies=[policies.CLUSTER_POLICY],
        ttl_s=ttl_s,
    )
    entity_id = await admin.ensure_entity(name, policies.identity_metadata(cluster))
    await admin.ensure_entity_alias(entity_id, accessor, SUBJECT)
    token_file = folder / f"{name}.token"
    token_file.write_text(signed(key) + "\n")
    return VaultCluster(
        cluster, VaultAccess(address, name, policies.ROLE, token_file, ca_file), entity_id, key
    )


def signed(key: rsa.RSAPrivateKey, **claims: Any) -> str:
    """A token as an API server signs it."""
    now = int(SystemClock().now().timestamp())
    payload = {"sub": SUBJECT, "aud": [AUDIENCE], "iss": "test", "iat": now, "exp": now + 600} | claims
    unsigned = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(payload)}"
    signature = key.sign(unsigned.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{unsigned}.{_encoded(signature)}"


def _part(value: dict[str, Any]) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
