"""A model: operators over tables, the exchange of their partials, what is above them, and how a config builds it."""
