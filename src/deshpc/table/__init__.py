"""The embedding tables: record layout, one shard, the set of shards of a rank, and the update rules' parameters."""
