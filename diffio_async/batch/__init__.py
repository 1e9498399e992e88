"""Batch restoration: a journal of recordings, bounded stages, each recording billed once."""
