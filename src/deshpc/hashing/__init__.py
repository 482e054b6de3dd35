"""Keys: the stable hash of field and raw value, the mixing of 64-bit numbers, and who owns a key."""
