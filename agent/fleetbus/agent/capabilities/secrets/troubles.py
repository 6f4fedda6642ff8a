"""What an error means for one binding: status, reason and one sentence that says who can do what. Pure."""

from __future__ import annotations

from fleetbus.agent.capabilities.secrets.plan import Release, Remove, Trouble, Write, not_found
from fleetbus.schemas import errors
from fleetbus.schemas.capabilities import secrets as schema
from fleetbus.schemas.capabilities.secrets import SecretEntry

NO_VAULT = Trouble(
    "False",
    schema.REASON_VAULT_UNAVAILABLE,
    "no Vault is configured for this cluster's agent; `fleetbus cluster join` with Vault's address sets it up",
)


def of_vault(error: errors.FleetbusError, entry: SecretEntry, cluster: str) -> Trouble:
    """Trouble at Vault. Nothing of it ever takes a Secret away: only a signed revocation does."""
    if isinstance(error, errors.VaultForbidden):
        return _forbidden(entry, cluster)
    if isinstance(error, errors.NotFound):
        return not_found(entry)
    if isinstance(error, errors.VaultUnavailable):
        if "sealed" in error.message.lower():
            message = "Vault is sealed; the Secret stays as it is until Vault is unsealed"
            return Trouble("Unknown", schema.REASON_SEALED, message, passing=True)
        message = "Vault does not answer; the Secret stays as it is until it does"
        return Trouble("Unknown", schema.REASON_VAULT_UNAVAILABLE, message, passing=True)
    passing = isinstance(error, errors.Transient)
    return Trouble("Unknown" if passing else "False", schema.REASON_REFUSED, error.sentence(), passing)


def of_cluster(error: errors.FleetbusError, entry: SecretEntry | None) -> Trouble:
    """Trouble at the apiserver while reading or writing the Secret."""
    if isinstance(error, errors.Transient):
        return Trouble("Unknown", schema.REASON_PROGRESSING, "the apiserver is asked again", passing=True)
    if isinstance(error, errors.NotFound) and entry is not None:
        message = f"namespace `{entry.namespace}` is not there; the Secret follows as soon as it exists"
        return Trouble("False", schema.REASON_NAMESPACE_MISSING, message, passing=True)
    where = f"Secret {entry.namespace}/{entry.secret}: " if entry else ""
    return Trouble("False", schema.REASON_REFUSED, f"{where}the apiserver refuses it: {error.message}")


def observed(step: Write | Remove | Release) -> Trouble:
    """What an agent without the right to write would do."""
    match step:
        case Write(entry):
            said = f"Secret {entry.namespace}/{entry.secret} would be written"
        case Remove(live):
            said = f"Secret {live.place} would be removed"
        case Release(live):
            said = f"Secret {live.place} would be left to others"
    return Trouble("Unknown", schema.REASON_OBSERVE_ONLY, f"{said}; this agent may only observe")


def key_missing(entry: SecretEntry, key: str) -> Trouble:
    return Trouble(
        "False",
        schema.REASON_KEY_MISSING,
        f"secret/{entry.path} has no key `{key}`, which `spec.keys` asks for; write it there or change `keys`",
    )


def key_unfit(entry: SecretEntry, key: str) -> Trouble:
    return Trouble(
        "False",
        schema.REASON_REFUSED,
        f"key `{key[:80]}` of secret/{entry.path} cannot be a key of a Secret; give it another name in `keys`",
    )


def _forbidden(entry: SecretEntry, cluster: str) -> Trouble:
    shared = entry.path.startswith(f"{schema.SHARED_PREFIX}/")
    remedy = (
        f"the secret's owner lets clusters read it with `fleetbus secret share {entry.path.split('/', 1)[1]}`"
        if shared
        else f"Vault's owner makes the cluster's entity with `fleetbus cluster vault {cluster}`"
    )
    return Trouble(
        "False", schema.REASON_FORBIDDEN, f"Vault does not let {cluster} read secret/{entry.path}; {remedy}"
    )
