"""What the kernel says about a process."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    # The program's name stands in brackets and may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS:") * 1024 / 1e6


def proportional_mb(pid: int) -> float:
    """Pages that are shared with other processes count in part."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") * 1024 / 1e6


def _kib(file: Path, field: str) -> int:
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(field))
