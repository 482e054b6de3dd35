"""How the ranks of a run start, agree, are watched, and end."""
