"""How documents come in."""
