"""Benchmarks: real servers side by side, in turns, compared as ratios."""
