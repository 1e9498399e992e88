"""Models of the API: frozen, without references to a client, the same in all spellings."""
