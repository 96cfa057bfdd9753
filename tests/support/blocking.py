"""Helpers that block, as a project's other modules may."""

import time


def read_slowly():
    time.sleep(0.2)  # the line
