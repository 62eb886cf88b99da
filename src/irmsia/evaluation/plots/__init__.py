"""Figures of a report as small SVG files, written by own code: the core needs no plotting library."""
