"""The command line: one module a command but for the short ones, which `main` has."""
