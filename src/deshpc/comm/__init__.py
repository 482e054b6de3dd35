"""All that the ranks of a run say to each other: the group and its ledger, nodes, shared memory."""
