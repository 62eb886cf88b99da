"""Public sources: one file each, found by a registry; one download engine for all."""
