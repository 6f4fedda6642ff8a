"""What a ceremony reaches: a cluster through a kubeconfig, Vault with its owner's token, the running bus."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog

from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.folder import server_pid_file
from fleetbus.cli.ceremony.join import Reload
from fleetbus.cli.ceremony.record import VaultPlace
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.kube import KubeClient
from fleetbus.runtime.kube_access import KubeAccess
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas.errors import NotFound, SettingsInvalid

_COMMAND_TIMEOUT_S = 30.0


def kube_client(kubeconfig: Path | None, context: str) -> KubeClient:
    """The cluster of a context. Raises SettingsInvalid."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    file = kubeconfig or (Path(named) if named else Path.home() / ".kube" / "config")
    return KubeClient(KubeAccess.from_kubeconfig(file, context), SystemClock())


def vault_admin(
    place: VaultPlace, token_file: Path | None, ca_file: Path | None
) -> AbstractAsyncContextManager[VaultAdmin]:
    """Vault with its owner's token: from the file, or VAULT_TOKEN. Raises SettingsInvalid without one."""
    token = read_text(token_file).strip() if token_file else os.environ.get("VAULT_TOKEN", "")
    if not token:
        raise SettingsInvalid(
            "Vault's part needs its owner's token", remedy="give --vault-token-file, or set VAULT_TOKEN"
        )
    return VaultAdmin(place.address, token, ca_file)


def reload_by(how: str, folder: Path) -> Reload:
    """`how`: a file with the server's process id, or a command line. Raises SettingsInvalid."""
    file = Path(how)
    if file.is_file():
        return lambda _: _signal(file)
    words = shlex.split(how)
    if not words:
        raise SettingsInvalid("--reload names neither a pid file nor a command")
    if "/" in words[0]:
        words[0] = str(Path(words[0]).absolute())
        if not Path(words[0]).is_file():
            raise SettingsInvalid("there is neither a pid file nor a command there", where=words[0])
    return lambda _: _run(words, folder)


def default_reload(folder: Path) -> Reload | None:
    """The server that was started from the fleet's folder and runs on this machine; None without its pid file."""
    file = server_pid_file(folder)
    return (lambda _: _signal(file)) if file.is_file() else None


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


async def _signal(file: Path) -> None:
    text = read_text(file).strip()
    if not text.isdigit():
        raise SettingsInvalid("holds no process id", where=str(file))
    gone = NotFound(
        f"no nats-server runs as process {text}",
        where=str(file),
        remedy="the new configuration counts at its next start",
    )
    if _name_of(text) not in ("", "nats-server"):
        raise gone
    try:
        os.kill(int(text), signal.SIGHUP)
    except ProcessLookupError as error:
        raise gone from error
    except PermissionError as error:
        raise SettingsInvalid(f"process {text} may not be signalled by this user", where=str(file)) from error


def _name_of(pid: str) -> str:
    """Of a process; '' where nobody says so. A number that was left in a file may be anybody's by now."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


async def _run(words: list[str], folder: Path) -> None:
    try:
        process = await asyncio.create_subprocess_exec(*words, cwd=folder, stdin=asyncio.subprocess.DEVNULL)
    except OSError as error:
        raise SettingsInvalid(f"`{words[0]}` cannot be run: {error.strerror}", where="--reload") from error
    try:
        code = await asyncio.wait_for(process.wait(), _COMMAND_TIMEOUT_S)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise SettingsInvalid(
            f"`{words[0]}` did not end in {_COMMAND_TIMEOUT_S:.0f} s", where="--reload"
        ) from error
    if code != 0:
        raise SettingsInvalid(f"`{words[0]}` ended with {code}", where="--reload")
