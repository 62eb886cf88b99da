"""The gRPC door: `server.DiagnosticServer`."""
