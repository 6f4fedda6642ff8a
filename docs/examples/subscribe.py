"""Follow a fleet's events and miss none, also over restarts of this program, the bus or the controller.

    python docs/examples/subscribe.py --type 'bundle.*' --position position.txt

The context is the one that `fleetbus` uses (FLEETBUS_CONTEXT, FLEETBUS_CONFIG).
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from fleetbus.client import connect, load_context


def last_seen(position: Path) -> int | None:
    return int(position.read_text()) if position.exists() else None


def remember(position: Path, sequence: int) -> None:
    position.write_text(str(sequence))


async def subscribe(pattern: str, position: Path, count: int) -> None:
    since = last_seen(position)
    async with connect(load_context()) as fleet:
        print("subscribed", flush=True)
        async for event in fleet.events(type=pattern, since=since):
            where = event.cluster or "the fleet"
            print(f"{event.sequence} {event.short_type} {event.subject} in {where}: {event.data['message']}")
            # Only now is it dealt with: a crash before this line shows it again, one after it does not.
            remember(position, event.sequence)
            count -= 1
            if count == 0:
                return


def main() -> None:
    arguments = argparse.ArgumentParser(description="Follow a fleet's events.")
    arguments.add_argument("--type", default="*", help="such as `bundle.*` or `secret.revoked`")
    arguments.add_argument("--position", type=Path, default=Path("position.txt"), help="where to go on")
    arguments.add_argument("--count", type=int, default=0, help="end after so many; 0 for never")
    given = arguments.parse_args()
    asyncio.run(subscribe(given.type, given.position, given.count))


if __name__ == "__main__":
    main()
