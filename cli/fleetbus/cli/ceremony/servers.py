"""What a ceremony reaches: a cluster through a kubeconfig, Vault with its owner's token, the signing keys."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.keys import FolderKeys, SigningKeys
from fleetbus.cli.ceremony.record import Signing
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.signers import TransitKeys
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import vault_policies
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import SettingsInvalid

if TYPE_CHECKING:
    from fleetbus.runtime.kube import KubeClient


def kube_client(kubeconfig: Path | None, context: str) -> KubeClient:
    """The cluster of a context. Raises SettingsInvalid."""
    # Here and not above: most ceremonies reach no cluster, and its client costs them a third of their start.
    from fleetbus.runtime.kube import KubeClient
    from fleetbus.runtime.kube_access import KubeAccess

    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    file = kubeconfig or (Path(named) if named else Path.home() / ".kube" / "config")
    return KubeClient(KubeAccess.from_kubeconfig(file, context), SystemClock())


def vault_admin(
    place: VaultPlace, token_file: Path | None, ca_file: Path | None
) -> AbstractAsyncContextManager[VaultAdmin]:
    """Vault with its owner's token: from the file, or VAULT_TOKEN. Raises SettingsInvalid without one."""
    token = _vault_token(token_file)
    if not token:
        raise SettingsInvalid(
            "Vault's part needs its owner's token", remedy="give --vault-token-file, or set VAULT_TOKEN"
        )
    return VaultAdmin(place.address, token, ca_file)


@asynccontextmanager
async def signing_keys(
    folder: Path,
    fleet: str,
    signing: Signing,
    place: VaultPlace | None,
    token_file: Path | None,
) -> AsyncIterator[SigningKeys]:
    """Where a fleet's signing keys live. Vault is asked only when one of them is needed. Raises SettingsInvalid."""
    if signing == "files":
        yield FolderKeys(folder)
        return
    if place is None:
        raise SettingsInvalid("the signing keys live in Vault", remedy="give --vault-address")
    with tempfile.TemporaryDirectory(prefix="fleetbus-") as temporary:
        ca_file = Path(temporary) / "ca.crt" if place.ca else None
        if ca_file:
            ca_file.write_text(place.ca)
        prefix = vault_policies.transit_prefix(fleet)
        async with TransitKeys(place.address, _vault_token(token_file), ca_file, prefix=prefix) as keys:
            yield keys


def _vault_token(token_file: Path | None) -> str:
    return read_text(token_file).strip() if token_file else os.environ.get("VAULT_TOKEN", "")


def quiet_log() -> structlog.typing.FilteringBoundLogger:
    """A log of the standard library's that nobody hears unless it is asked for: the command says it in its errors."""
    logger = logging.getLogger("fleetbus.ceremony")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        logger,
        processors=[structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return log
