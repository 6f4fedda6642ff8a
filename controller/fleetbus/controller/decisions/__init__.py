"""Pure decisions that capabilities share: no I/O, no clock, no chance."""
