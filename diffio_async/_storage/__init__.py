"""Threads, SQLite, file locks and atomic writes."""
