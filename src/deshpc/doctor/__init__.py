"""What `deshpc doctor` asks of a machine: facts, devices, traps, probes."""
