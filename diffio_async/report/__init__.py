"""Reports of restorations: pages on which both versions of recordings are compared."""
