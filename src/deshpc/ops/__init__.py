"""Operators, a file each: partial at the owner, finish at the top, and their adjoints; exchanges, which make partials complete."""
