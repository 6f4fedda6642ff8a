"""One operator takes no place from another."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from fleetbus.controller.at_once import AtOnce
from fleetbus.schemas.errors import Transient


def test_who_asks_more_than_his_share_is_told_to_ask_again_and_others_are_answered() -> None:
    asking = AtOnce(most=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(asking.place("U1"))
        with pytest.raises(Transient, match="2 requests"), asking.place("U1"):
            pass
        with asking.place("U2"):
            pass
    with asking.place("U1"):
        pass
