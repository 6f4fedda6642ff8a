"""A module a capability: its documents, its section, its aspects, its events and reasons."""
