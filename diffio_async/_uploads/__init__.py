"""Uploads: sources, multipart uploads, and resuming them."""
