"""Attacks, each a value with a promised result, run on real servers; docs/security/attacks.md lists them."""
