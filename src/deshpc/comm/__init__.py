"""Communication: the launcher, the group of ranks through which every collective goes, and its byte ledger."""
