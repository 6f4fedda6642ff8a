"""Connections from advisories and listings put together."""

from __future__ import annotations

from datetime import UTC, datetime

from fleetbus.controller.connections import MISSED_LISTINGS, UNANSWERED_LISTINGS, Connections
from fleetbus.schemas.connections import PAGE, Connection, Ended, Page

AT = datetime(2026, 11, 24, tzinfo=UTC)


def live(number: int = 1, server: str = "A", key: str = "U1") -> Connection:
    return Connection(server, number, "AX", key, "c1", server.lower(), AT)


def gone(number: int = 1, server: str = "A", key: str = "U1") -> Ended:
    return Ended(live(number, server, key), "Client Closed")


def answer(*found: Connection, server: str = "A") -> Page:
    return Page(server.lower(), server, len(found), 0, found)


def test_who_moves_to_another_server_is_never_without_a_connection() -> None:
    found = Connections()
    found.came(live(1, "A"))
    found.came(live(1, "B"))
    found.left(gone(1, "A"))
    assert [one.server for one in found.of("U1")] == ["b"]
    found.left(gone(1, "B"))
    assert found.of("U1") == []


def test_a_listing_shows_whose_advisory_was_lost() -> None:
    found = Connections()
    found.begin_listing()
    assert found.listed([answer(live())])
    assert len(found.of("U1")) == 1


def test_only_several_listings_without_it_end_a_connection() -> None:
    found = Connections()
    found.came(live())
    for number in range(MISSED_LISTINGS):
        assert len(found.of("U1")) == 1, number
        found.begin_listing()
        assert not found.listed([answer()])
    assert found.of("U1") == []


def test_one_that_is_named_again_counts_anew() -> None:
    found = Connections()
    found.came(live())
    for pages in ([answer()], [answer(live())], [answer()]):
        found.begin_listing()
        found.listed(pages)
    assert len(found.of("U1")) == 1


def test_connections_of_a_server_that_is_gone_end_with_it() -> None:
    found = Connections()
    found.came(live())
    for _ in range(UNANSWERED_LISTINGS):
        assert len(found.of("U1")) == 1
        found.begin_listing()
        found.listed([answer(server="B")])
    assert found.of("U1") == []


def test_a_page_that_does_not_come_ends_nobody() -> None:
    """A server that is slow with its second page has not said that nobody stands on it."""
    found = Connections()
    everybody = [live(number, key=f"U{number}") for number in range(PAGE + 1)]
    first, second = (
        Page("a", "A", PAGE + 1, offset, tuple(everybody[offset : offset + PAGE])) for offset in (0, PAGE)
    )
    found.begin_listing()
    assert found.listed([first, second])
    for _ in range(2 * UNANSWERED_LISTINGS):
        found.begin_listing()
        assert not found.listed([first])
    assert len(found.of(f"U{PAGE}")) == 1
    gone_since = Page("a", "A", PAGE, 0, first.connections)
    for _ in range(MISSED_LISTINGS):
        found.begin_listing()
        found.listed([gone_since])
    assert found.of(f"U{PAGE}") == []


def test_who_came_or_left_while_a_listing_was_made_is_as_the_advisory_said() -> None:
    found = Connections()
    found.came(live(1))
    found.begin_listing()
    found.left(gone(1))
    found.came(live(2, key="U2"))
    assert found.listed([answer(live(1))])
    assert (len(found.of("U1")), len(found.of("U2"))) == (0, 1)


def test_who_has_not_logged_in_is_nobody_yet() -> None:
    found = Connections()
    found.begin_listing()
    found.listed([answer(live(key=""))])
    assert not found.known
