"""By which keys and under which charter the controller acts, as its settings name them; read again while it runs.

A change of either ends the term and begins another: what is signed under one term is signed by one key.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog
from nacl.signing import SigningKey

from fleetbus.controller.leader import TAKE_NEWEST
from fleetbus.controller.settings import Current, Settings, read_credential, read_key, read_secret
from fleetbus.runtime.clock import Clock
from fleetbus.schemas.charter import Charter, Sealed, opened
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import FleetbusError, Refused, SettingsInvalid
from fleetbus.schemas.nkeys import public_key

LOOK_EVERY_S = 1.0

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True)
class Mandate:
    """`former`: keys whose word in the controller's own memory still counts, until that is signed anew."""

    key: SigningKey = field(repr=False)
    credential: Credential = field(repr=False)
    epoch: int
    former: tuple[str, ...] = ()
    charter: Sealed | None = None


def read_mandate(settings: Settings) -> Mandate:
    """Raises SettingsInvalid; a charter that does not name this key and epoch is none to act under."""
    key = read_key(settings.signing_seed_file)
    sealed = _charter(settings)
    if sealed is not None:
        expect_named(public_key(key), sealed.charter)
    epoch = sealed.charter.epoch if sealed else settings.epoch
    return Mandate(
        key, read_credential(settings.bus_credential_file), epoch, settings.former_signing_keys, sealed
    )


def expect_named(key: str, charter: Charter) -> None:
    """Raises SettingsInvalid when the root does not let this key sign (any more)."""
    if key not in charter.publish:
        raise SettingsInvalid(
            f"the root's charter {charter} does not name this controller's key {key}",
            remedy=TAKE_NEWEST,
        )


async def until_changed(current: Current, acting: Mandate, clock: Clock) -> Mandate:
    """The one that the settings name next. While they cannot be read, or do not fit together, this one stays."""
    said = ""
    while True:
        await clock.sleep(clock.jitter(LOOK_EVERY_S))
        try:
            found = await asyncio.to_thread(lambda: read_mandate(current.settings()))
        except FleetbusError as error:
            if error.sentence() != said:
                said = error.sentence()
                _log.warning("keys and charter stay as they were", reason=said)
            continue
        said = ""
        if found != acting:
            _log.info("another key or charter", key=public_key(found.key), epoch=found.epoch)
            return found


def _charter(settings: Settings) -> Sealed | None:
    if settings.charter_file is None:
        return None
    text = read_secret(settings.charter_file)
    try:
        return opened(text.encode(), settings.root, settings.fleet)
    except Refused as error:
        raise SettingsInvalid(
            f"not a charter of this fleet's root: {error.message}", where=str(settings.charter_file)
        ) from error
