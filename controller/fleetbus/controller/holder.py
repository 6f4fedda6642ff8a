"""Which process holds the lease, named so that another on the same machine can tell whether it still lives."""

from __future__ import annotations

import os
from pathlib import Path


def this_holder() -> str:
    """`boot/namespace/pid/start`: unlike any other process, and tellable whether it still lives from here."""
    return f"{_boot()}/{_pid_namespace()}/{os.getpid()}/{_started(os.getpid())}"


def is_gone(holder: str) -> bool:
    """Whether that holder was a process of this boot and PID namespace that is no more; False if in doubt."""
    parts = holder.split("/")
    if len(parts) != 4 or not _boot() or parts[:2] != [_boot(), _pid_namespace()] or not parts[2].isdigit():
        return False
    return _started(int(parts[2])) != parts[3]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """The process's start in clock ticks since boot (proc(5), field 22); empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
