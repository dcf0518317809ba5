"""Reads where nothing is. Ends: killed."""

import ctypes

ctypes.string_at(0)
