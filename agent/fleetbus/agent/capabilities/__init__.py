"""What an agent can do, one folder a capability; they do not know each other."""
