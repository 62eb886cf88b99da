"""The gRPC door: `server.DiagnosticServer`, and `serve.serve` which runs one until a signal."""
