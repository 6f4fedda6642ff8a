"""The controller's signing key is changed in a fleet's folder, a step at a time; each step can be done again.

With overlap: `prepare` (a new key is named beside the present one), `switch` (the controller signs with it), `finish`
(the former one is named no more). Without: `raise_epoch`, after a backup was restored or a key was stolen, names the
new key alone and a higher epoch. What the root has to sign after each step is `ensure_charter`'s.
"""

from __future__ import annotations

from pathlib import Path

from fleetbus.cli.ceremony.folder import credential_file, seed_file
from fleetbus.cli.ceremony.init import write_controller
from fleetbus.cli.ceremony.keys import ensure_key, read_key
from fleetbus.cli.ceremony.record import FOR_EVER, FleetRecord, changing, read_record, write_record
from fleetbus.schemas.accounts import FLEET
from fleetbus.schemas.errors import NotPossible
from fleetbus.schemas.nkeys import public_key

SIGNING = "controller-signing"
_NEXT = f"{SIGNING}-next"


def is_prepared(folder: Path) -> bool:
    """Whether a next key is there, with which the controller does not sign yet."""
    return _next_file(folder).is_file()


def prepare(folder: Path) -> str:
    """The public half of the next key, which the record names beside the present one."""
    with changing(folder):
        record = read_record(folder)
        made = public_key(ensure_key(_next_file(folder)))
        if record.signing_keys == (made,):
            raise NotPossible(
                "a higher epoch is being brought in", remedy="finish that first: fleetbus keys raise-epoch"
            )
        _write(folder, record, record.naming((*record.signing_keys, made)))
        return made


def switch(folder: Path) -> str:
    """The next key takes the place of the present one, whose seed is gone then. The key that signs from now on."""
    with changing(folder):
        if is_prepared(folder):
            _next_file(folder).replace(seed_file(folder, SIGNING))
        return public_key(read_key(seed_file(folder, SIGNING)))


def finish(folder: Path) -> None:
    """Only the key that signs is named; for who signs no more and has nothing unsigned left. Then `heard` follows."""
    with changing(folder):
        record = read_record(folder)
        own = public_key(read_key(seed_file(folder, SIGNING)))
        _write(folder, record, record.naming((own,)).model_copy(update={"resealing": (), "unheard": True}))


def heard(folder: Path) -> None:
    """The bus has the charter that names this key alone: the change has ended, and another one may begin."""
    with changing(folder):
        write_record(folder, read_record(folder).model_copy(update={"unheard": False}))


def is_raised(record: FleetRecord, at_least: int) -> bool:
    """Whether an epoch that is high enough was begun, and the former key's word may still be in the memory."""
    return bool(record.resealing) and record.epoch >= at_least


def raise_epoch(folder: Path, at_least: int = 0) -> FleetRecord:
    """A new key alone, in an epoch that was never used. Interrupted, it goes on with the epoch that it has begun.

    Unless that is below `at_least`, as when the bus knows of higher ones: then it begins another one.

    What the former keys have signed is still read by the controller, until it has signed it anew; its credential on
    the bus is revoked, as a copy of the folder has it too. Any rotation that was under way is forgotten.
    """
    with changing(folder):
        record = read_record(folder)
        file = _next_file(folder)
        begun = file.is_file() and record.signing_keys == (public_key(read_key(file)),)
        if begun and is_raised(record, at_least):
            if record.revoked_at(FLEET, record.controller):
                credential_file(folder, "controller").unlink(missing_ok=True)
            return record
        file.unlink(missing_ok=True)
        made = public_key(ensure_key(file))
        former = tuple(dict.fromkeys((*record.resealing, *record.signing_keys)))
        raised = record.naming((made,)).with_revoked(FLEET, (record.controller,), FOR_EVER)
        epoch = max(record.epoch + 1, at_least)
        changed = raised.model_copy(update={"epoch": epoch, "resealing": former})
        _write(folder, record, changed)
        credential_file(folder, "controller").unlink(missing_ok=True)
        return changed


def _next_file(folder: Path) -> Path:
    return seed_file(folder, _NEXT)


def _write(folder: Path, before: FleetRecord, after: FleetRecord) -> None:
    write_controller(folder, after, before)
    write_record(folder, after)
