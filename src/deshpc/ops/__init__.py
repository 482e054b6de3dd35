"""Operators with a substitution: partial at the owner, finish at the top, and the adjoint of each.  One file each."""
