"""Polling: when to request the progress of which generation."""
