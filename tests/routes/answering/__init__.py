"""A site of which each view says which it is and what it was given."""
