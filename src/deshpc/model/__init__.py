"""A model: operators over tables, the exchange of their partials, dense parameters, and how a config builds it."""
