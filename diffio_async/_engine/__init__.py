"""The engine: the only floor that awaits I/O."""
