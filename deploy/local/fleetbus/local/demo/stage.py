"""Where the demo is seen: steps with the time that each took, commands as they are typed, what they answered.

On a terminal a line at the bottom says what is waited for; in a pipe there is one line a thing and no more.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.cli.text import clean
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.failures import known_leaf
from fleetbus.schemas.errors import FleetbusError, ServerFailed, TimeoutExpired

Look = Callable[[], Awaitable[tuple[bool, str]]]
"""Whether it is so now, and what was seen."""

_SHOWN_LINES = 12
_COMMAND_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        found = next((line for line in lines if line.startswith("error")), lines[-1] if lines else "")
        return clean(found)[:300]


@dataclass(slots=True)
class Stage:
    """What is shown, and what went wrong so far. `environment` is that of every command."""

    output: Output
    environment: Callable[[], Mapping[str, str]]
    folder: Path
    failures: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def step(self, number: int, title: str) -> AsyncIterator[None]:
        """One step: its title, what happens in it, its time. A failure is shown and kept, not raised."""
        self.output.line("")
        self.output.line(Cell(f"{number:2d}  ", "name"), Cell(title, "name"))
        clock = SystemClock()
        began = clock.monotonic_s()
        try:
            yield
        except* FleetbusError as failures:
            if (known := known_leaf(failures)) is not None:
                self._fail(title, known)
        else:
            self.done(f"done in {clock.monotonic_s() - began:.1f} s")

    def say(self, text: str) -> None:
        """A sentence of the demo itself."""
        self.output.line("    ", Cell(text))

    def done(self, text: str, took_s: float | None = None) -> None:
        """Something that holds now, and how long it took."""
        took = f"  {_duration(took_s)}" if took_s is not None else ""
        self.output.line("    ", self.output.mark("good"), " ", text, Cell(took, "wait"))

    async def run(
        self, *argv: str | Path, shows: int = _SHOWN_LINES, code: int = 0, shown: Sequence[str] | None = None
    ) -> Said:
        """Type a command and show its answer. Raises ServerFailed when it does not end with `code`.

        `shown` is what is printed in its place, when a word of it must not be (a secret's value).
        """
        words = [str(word) for word in argv]
        self.output.line("    ", Cell("$ " + shlex.join(shown or words), "wait"))
        said = await self.ask(*words, together=True)
        lines = [line for line in said.out.splitlines() if line.strip()]
        for line in lines[:shows]:
            self.output.line("    ", line)
        if len(lines) > shows > 0:
            self.output.line("    ", Cell(f"({len(lines) - shows} more lines)", "wait"))
        if said.code != code:
            raise ServerFailed(
                f"`{shlex.join(shown or words)}` ended with {said.code} and not with {code}: {said.last_line}"
            )
        return said

    async def ask(self, *argv: str, together: bool = False) -> Said:
        """The same, unseen; any exit code. `together`: what it says on both outputs, in its order."""
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if together else asyncio.subprocess.PIPE,
            env=dict(self.environment()),
            cwd=self.folder,
        )
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT_S):
                out, err = await child.communicate()
        except TimeoutError as cause:
            raise TimeoutExpired(
                f"`{shlex.join(argv)}` was still running after {_COMMAND_TIMEOUT_S:g} s"
            ) from cause
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return Said(
            child.returncode or 0, out.decode(errors="replace"), (err or b"").decode(errors="replace")
        )

    async def until(
        self,
        expected: str,
        look: Look,
        *,
        timeout_s: float = 60.0,
        every_s: float = 0.05,
        log: Path | None = None,
    ) -> float:
        """Wait until `look` says that it is so, and show it with its time; how long it took, in seconds.

        Raises TimeoutExpired with what was expected, what was seen last, and the log to read.
        """
        clock = SystemClock()
        began = clock.monotonic_s()
        while True:
            so, seen = await look()
            took_s = clock.monotonic_s() - began
            if so:
                self._wipe()
                self.done(expected, took_s)
                return took_s
            if took_s > timeout_s:
                self._wipe()
                raise TimeoutExpired(
                    f"expected: {expected}; seen after {timeout_s:g} s: {seen}",
                    remedy=f"read {log}" if log else "",
                )
            self._wait_line(f"{expected} … {took_s:.0f} s: {seen}")
            await clock.sleep(every_s)

    def _fail(self, title: str, error: FleetbusError) -> None:
        self._wipe()
        self.failures.append(f"{title}: {error.message}")
        self.output.line("    ", self.output.mark("bad"), " ", Cell(error.message, "bad"))
        if error.where:
            self.output.line("      ", error.where)
        if error.remedy:
            self.output.line("      ", Cell(error.remedy, "command"))

    def _wait_line(self, text: str) -> None:
        if self.output.screen.terminal and sys.stdout.isatty():
            sys.stdout.write("\r\x1b[K    " + clean(text)[: max(20, self.output.screen.width - 6)])
            sys.stdout.flush()

    def _wipe(self) -> None:
        if self.output.screen.terminal and sys.stdout.isatty():
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
