"""`diffio-async webhooks …`: configure, test, verify, listen, and the inbox."""
