"""Stand-ins of the public sources: real HTTP servers on loopback with phantoms of our own, and faults on request."""
