"""How a batch's keys reach the shards that own them, and what routing gives a rank."""
