"""Certificates with which clusters show themselves to servers that want one, for keys that only the clusters have.

They say nothing about what a cluster may do: that is its user's token, which lives for a day. A certificate lives
longer, so that who was away can come back and renew; each renewal brings a new one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fleetbus.runtime.clock import Clock
from fleetbus.schemas.errors import NotPossible
from fleetbus.schemas.nkeys import verify_key
from fleetbus.schemas.subjects import ClusterId

LIFETIME = timedelta(days=365)
"""A cluster that was away for longer joins with a new token."""


@dataclass(frozen=True, slots=True)
class ClientCertificates:
    """Made with the authority of clients, whose files are read each time, so that it may be replaced."""

    certificate_file: Path
    key_file: Path
    clock: Clock

    async def issue(self, cluster: ClusterId, nkey: str, until: datetime | None = None) -> str:
        """PEM, for this key; by default for as long as a member's lives. Raises NotPossible."""
        return await asyncio.to_thread(self._issue, cluster, nkey, until)

    def _issue(self, cluster: ClusterId, nkey: str, until: datetime | None) -> str:
        # Only where servers want certificates is the library for them needed.
        from fleetbus.runtime.certificates import Issued, issue_for_key

        now = self.clock.now()
        try:
            authority = Issued(self.certificate_file.read_bytes(), self.key_file.read_bytes())
        except OSError as error:
            raise NotPossible(
                "the controller cannot read the authority of clients' certificates", where=str(self.key_file)
            ) from error
        valid_for = until - now if until else LIFETIME
        made = issue_for_key(authority, f"agent {cluster}", bytes(verify_key(nkey)), now, valid_for=valid_for)
        return made.decode()
