"""What a shell needs to speak to a local fleet: variables, one kubeconfig for all clusters, a folder of programs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleetbus.local.files import write_whole
from fleetbus.local.kubernetes import ControlPlane

_PROGRAMS = ("fleetbus", "kubectl", "bao", "nats-server")


def write_kubeconfig(file: Path, clusters: Iterable[ControlPlane]) -> Path:
    """One kubeconfig with a context a cluster, named like the cluster; the first one is current."""
    merged: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [],
        "users": [],
        "contexts": [],
    }
    for cluster in clusters:
        one = json.loads(cluster.kubeconfig.read_text())
        merged.setdefault("current-context", one["current-context"])
        for key in ("clusters", "users", "contexts"):
            merged[key] += one[key]
    return write_whole(file, json.dumps(merged, indent=2), secret=True)


def link_programs(folder: Path) -> Path:
    """A folder with just the fleet's programs, so that nothing else of this Python comes before the user's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PROGRAMS:
        target, link = Path(sys.executable).with_name(name), folder / name
        if target.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return folder


def command_to_type() -> str:
    """`fleetbus`, or where it lies as long as no PATH leads there; relative when that is below this folder."""
    beside = Path(sys.executable).absolute().with_name("fleetbus")
    if shutil.which("fleetbus") or not beside.is_file():
        return "fleetbus"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))


def shell_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with a fleet's variables in it; PATH comes before the one that is there."""
    path = f"{variables['PATH']}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return dict(os.environ) | dict(variables) | {"PATH": path}
