"""The typed client of the controller's API and of the events."""
