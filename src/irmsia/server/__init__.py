"""The doors: requests become calls of the rooms below. `serve` runs `grpc/` and `http/`; `run_file` tells where."""
