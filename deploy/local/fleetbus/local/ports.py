"""Free ports on loopback, from below the range that the kernel gives to outgoing connections.

Inside that range a client that keeps dialling a server that is down sooner or later connects to itself,
and then the server cannot have its port back.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

_LOWEST = 10_000
_APART = 7_919
"""Processes that start one after the other look far from each other."""
_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on and that this process has not given out before."""
    highest = _outgoing_from()
    span = highest - _LOWEST
    start = os.getpid() * _APART + len(_given)
    for step in range(span):
        port = _LOWEST + (start + step) % span
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no free port on 127.0.0.1 between {_LOWEST} and {highest}")


def kept_port(file: Path) -> int:
    """The port that `file` remembers if it is still free, else a new one, which `file` then remembers."""
    if file.exists():
        port = int(file.read_text())
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    port = free_port()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{port}\n")
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _outgoing_from() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768
