"""Composition root: settings become objects, objects become roles. Use cases that need several rooms stand here."""
