"""Compiled part of the room; see the Python wrappers for shapes, units and errors."""
