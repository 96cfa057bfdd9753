"""A small Django project that every server serves."""
