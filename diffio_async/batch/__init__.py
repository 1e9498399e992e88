"""Many recordings: listed in a journal, restored through bounded stages, each paid for once."""
