"""The clusters of a local fleet: names, labels and where they pretend to stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.subjects import cluster_name

DEFAULT = ("dev-eu", "staging-eu", "prod-us")
MOST = 12
"""A control plane takes some 400 MB."""

_REGIONS = {
    "eu": "eu-west-1",
    "us": "us-east-1",
    "ap": "ap-southeast-1",
    "sa": "sa-east-1",
    "af": "af-south-1",
}
_KNOWN = {"staging-eu": "eu-central-1"}


@dataclass(frozen=True, slots=True)
class Member:
    """One cluster before it is there."""

    name: str
    env: str
    region: str

    @property
    def labels(self) -> Mapping[str, str]:
        return {"env": self.env, "region": self.region}


def member(name: str) -> Member:
    """`prod-us`: env `prod`, a region in the US. Raises DocumentInvalid for what is no cluster's name."""
    parts = cluster_name(name).split("-")
    place = next((part for part in parts[1:] if part in _REGIONS), "")
    return Member(name, parts[0], _KNOWN.get(name) or _REGIONS.get(place, "local"))


def members(names: Sequence[str]) -> tuple[Member, ...]:
    """The clusters with these names. Raises DocumentInvalid or SettingsInvalid with a sentence."""
    if not names:
        raise SettingsInvalid(
            "a fleet has at least one cluster", remedy="such as `--clusters dev-eu,prod-us`"
        )
    if len(names) > MOST:
        raise SettingsInvalid(f"{len(names)} clusters are more than the {MOST} that fit on one machine")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SettingsInvalid(f"the cluster {doubled[0]} is named twice")
    return tuple(member(name) for name in names)
