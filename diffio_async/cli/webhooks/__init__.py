"""The `webhooks` commands: configure, test, verify, listen and inbox."""
