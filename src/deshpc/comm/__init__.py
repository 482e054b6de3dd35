"""All that speaks with other ranks: the group and its ledger, nodes, shared memory; how ranks start, agree and fail; doctor."""
