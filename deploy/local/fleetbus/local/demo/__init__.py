"""The demo: the main job of a fleet, played on real servers, every command as a user would type it.

`python -m fleetbus.local.demo`. A step is a function over the `Scene`; the steps stand in `play.py` in order.
"""
