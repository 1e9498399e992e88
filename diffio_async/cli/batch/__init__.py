"""The `batch` commands: restore many recordings once each, with a journal."""
