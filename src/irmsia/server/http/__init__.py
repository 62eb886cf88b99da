"""The HTTP door: `app.make_app`, served by `server.HttpServer` on the loop that the gRPC door runs on, too."""
