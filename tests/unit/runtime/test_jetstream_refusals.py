"""What JetStream says no with, as errors that say whether to try again."""

from __future__ import annotations

import pytest

from fleetbus.runtime.nats_jetstream import refusal
from fleetbus.schemas.errors import (
    BusUnavailable,
    FleetbusError,
    MessageMalformed,
    NotFound,
    SequenceConflict,
)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"code": 400, "err_code": 10071, "description": "wrong last sequence: 7"}, SequenceConflict),
        ({"code": 404, "err_code": 10059, "description": "stream not found"}, NotFound),
        ({"code": 503, "err_code": 10008, "description": "system unavailable"}, BusUnavailable),
        ({"code": 429, "err_code": 10167, "description": "too many requests"}, BusUnavailable),
        ({"code": 400, "err_code": 10054, "description": "message size exceeds maximum"}, MessageMalformed),
        ({}, MessageMalformed),
    ],
)
def test_a_stream_that_is_flooded_or_away_is_tried_again_and_a_wrong_message_is_not(
    answer: dict[str, object], kind: type[FleetbusError]
) -> None:
    assert type(refusal(answer, "fleet.v1.state.main.c1.facts")) is kind
