"""What the API speaks of: frozen, slotted, snake_case, with no client inside."""
