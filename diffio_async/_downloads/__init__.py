"""Downloads: ranges, partial files, and resuming them."""
