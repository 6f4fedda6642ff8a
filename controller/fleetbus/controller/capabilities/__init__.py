"""One folder a capability: reconcile (document, view, ports, now) and section (pure); they do not know each other."""
