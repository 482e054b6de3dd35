"""What runs have recorded, for a person: see `report`."""
