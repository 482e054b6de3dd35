"""Rows and how they are reached: shards, a rank's tables, replicated rows; routing of keys to owners; the update rules' numbers."""
