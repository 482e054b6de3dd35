"""Backends: the same operation names on every device, one folder each, one file name per operation."""
