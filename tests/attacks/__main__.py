"""Write docs/security/attacks.md."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.suite import page

PAGE = Path(__file__).parents[2] / "docs/security/attacks.md"

if __name__ == "__main__":
    PAGE.write_text(page())
