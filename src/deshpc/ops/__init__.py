"""What owners compute: operators, a file each, with partial, finish and their adjoints; the owners' part of a tower."""
