"""What people may do on the bus: never read what is answered to somebody else."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.record import FleetRecord, Person
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.signing import public_key


def test_an_operator_and_a_subscriber_of_one_name_share_no_inbox() -> None:
    keys = [public_key(SigningKey(bytes([number]) * 32)) for number in (1, 2)]
    record = FleetRecord(
        fleet="f",
        bus_servers=(),
        hosts=(),
        listen="",
        system="s",
        controller="c",
        signing_keys=(),
        people=(Person(name="ana", nkey=keys[0]), Person(name="ana", nkey=keys[1], role="subscriber")),
    )
    inboxes = [
        {subject for subject in user.permissions.subscribe if subject.startswith("_INBOX")}
        for user in record.users().operators
        if user.permissions
    ]
    assert inboxes == [{f"_INBOX_{key}.>"} for key in keys]


@pytest.mark.parametrize("nkey", ["", "ana", "U" + "A" * 54 + ">", "SU" + "A" * 54, "U" + "A" * 55 + ".x"])
def test_only_a_key_has_an_inbox(nkey: str) -> None:
    with pytest.raises(DocumentInvalid):
        subjects.personal_inbox(nkey)
