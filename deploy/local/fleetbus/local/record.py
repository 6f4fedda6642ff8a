"""What a running local fleet is, as a file in its folder: for `status`, `logs` and `env`, in any process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetbus.local.files import write_whole
from fleetbus.schemas.errors import NotFound, SettingsInvalid

FILE = "fleet.json"


@dataclass(frozen=True, slots=True)
class Running:
    """One process of the fleet. `port` 0: it listens nowhere."""

    name: str
    pid: int
    port: int
    log: str

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@dataclass(frozen=True, slots=True)
class Record:
    """The fleet as a whole. `environment` holds paths and addresses, no secret."""

    clusters: tuple[str, ...]
    environment: Mapping[str, str]
    processes: tuple[Running, ...]


def write(dir: Path, record: Record) -> None:
    write_whole(dir / FILE, json.dumps(asdict(record), indent=2), secret=True)


def read(dir: Path) -> Record:
    """Raises NotFound when no fleet was started there, SettingsInvalid when the file is damaged."""
    file = dir / FILE
    try:
        found = json.loads(file.read_text())
        processes: Sequence[Mapping[str, object]] = found["processes"]
        return Record(
            clusters=tuple(found["clusters"]),
            environment=dict(found["environment"]),
            processes=tuple(
                Running(str(one["name"]), int(str(one["pid"])), int(str(one["port"])), str(one["log"]))
                for one in processes
            ),
        )
    except FileNotFoundError as cause:
        raise NotFound(
            f"no local fleet runs in {dir}", remedy="start one with `fleetbus local up`"
        ) from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise SettingsInvalid(
            f"{file} is damaged", remedy="run `fleetbus local down` and `fleetbus local up`"
        ) from cause
