"""What both sides run on, and no capability: ports, client libraries behind them, clock, loop, settings, logs.

The only place that imports nats, kubernetes and hvac. Nothing here knows a document or a section.
"""
