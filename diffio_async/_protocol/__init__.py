"""The wire, pure: no await, no clock, no I/O."""
