"""A classifier as scikit-learn's users know it: trains on one rank, scores, and saves what a Predictor reads."""
