"""What an agent keeps of the root's word: the newest, of its own root, and nothing that was said before."""

from __future__ import annotations

import pytest

from fleetbus.agent.charter import known_charter, with_charter
from fleetbus.agent.settings import CHARTER, parse_settings
from fleetbus.schemas.charter import opened
from fleetbus.schemas.errors import SettingsInvalid
from tests.unit.agent.test_settings import GOOD
from tests.unit.schemas.test_charter import KEY, PEM, root, sealed

SECRET = {**GOOD, "fleet": "demo", "root": root()}


def test_the_newest_is_kept_and_read_again() -> None:
    first, second = (opened(sealed(version=number), root(), "demo") for number in (1, 2))
    kept = with_charter(SECRET, first, root(), "demo")
    kept = with_charter(kept, second, root(), "demo")
    assert with_charter(kept, first, root(), "demo") == kept
    settings = parse_settings(kept)
    assert settings.charter == second == known_charter(kept, root(), "demo")
    assert (settings.root, settings.authorities) == (root(), PEM)
    assert KEY in settings.charter.charter.publish if settings.charter else False


def test_a_secret_that_another_fleet_has_taken_over_meanwhile_stays_as_it_is() -> None:
    other = {**SECRET, "root": ""}
    assert with_charter(other, opened(sealed(), root(), "demo"), root(), "demo") == other


def test_without_a_root_no_charter_counts() -> None:
    settings = parse_settings({**SECRET, "root": "", CHARTER: sealed().decode()})
    assert (settings.charter, settings.authorities) == (None, SECRET["bus-ca"])


@pytest.mark.parametrize(
    ("key", "value"), [(CHARTER, "x"), (CHARTER, sealed(fleet="other").decode()), ("root", KEY)]
)
def test_what_is_wrong_is_named_by_its_key(key: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"`{key}`"):
        parse_settings({**SECRET, key: value})
