"""The agent: one process in each cluster. It dials out, is told, applies, reports.

What may enter: what only the agent does. It never imports the controller or the command.
"""
