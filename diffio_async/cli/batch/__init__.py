"""The commands under `batch`: many recordings, restored once each, over a journal."""
