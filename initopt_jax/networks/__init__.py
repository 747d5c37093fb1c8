"""How a network is read from its own operations: its leaves, their layouts and uses, signals."""
