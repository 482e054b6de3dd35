"""Rows: shards, a rank's tables, replicated rows, and the update rules' numbers."""
