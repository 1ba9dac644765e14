"""Stand-ins on loopback for what cannot be reached from a test."""
