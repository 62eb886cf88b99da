"""The doors: requests become calls of the rooms below. `grpc/` is one; `run_file` tells where a server runs."""
