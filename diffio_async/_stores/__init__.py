"""Object stores: addresses, connections, reading and writing of objects (extra `stores`)."""
