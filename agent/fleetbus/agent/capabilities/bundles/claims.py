"""Which bundle an object belongs to, when several are told to have it: the one that has it, else the first. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fleetbus.agent.capabilities.bundles.holding import Holding
from fleetbus.agent.capabilities.bundles.objects import ObjectKey


class Claims:
    """Every object that some bundle has or wants, and whose it is."""

    def __init__(self, holdings: Iterable[Holding] = ()) -> None:
        self._owners: dict[ObjectKey, Holding] = {}
        self.shared: set[ObjectKey] = set()
        """Objects that more than one bundle has or wants."""
        for holding in holdings:
            if holding.retired is not None:
                continue
            keys = holding.membership.objects if holding.objects is None else holding.objects
            for key in keys:
                owner = self._owners.setdefault(key, holding)
                if owner is not holding:
                    self.shared.add(key)
                    if holding.claims(key) and not owner.claims(key):
                        self._owners[key] = holding

    def owner(self, key: ObjectKey) -> Holding | None:
        return self._owners.get(key)

    def other(self, key: ObjectKey, holding: Holding) -> Holding | None:
        """The bundle that it belongs to, unless that is `holding`."""
        owner = self._owners.get(key)
        return owner if owner is not holding else None
