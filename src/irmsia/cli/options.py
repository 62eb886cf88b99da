"""Options that several commands share, with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object a line on standard output, and nothing else there.")
]
Server = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        metavar="auto|HOST:PORT",
        help="A gRPC server to ask; auto: the one that runs here. May be repeated.",
    ),
]
Ca = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="PEM file of who signed the servers' certificates: TLS.")
]
Certificate = Annotated[
    Path | None, typer.Option("--certificate", metavar="FILE", help="PEM file of the certificate to show to servers.")
]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="PEM file of that certificate's private key.")]
Paths = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="Files, or directories to walk (hidden files and masks are skipped)."),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Id, start of it, NAME or NAME:VERSION; else the active model."),
]
Term = Annotated[str | None, typer.Option("--term", metavar="T", help="The term to explain; else the likeliest one.")]
Maps = Annotated[
    Path | None, typer.Option("--heatmap", metavar="DIR", help="Write each answer's map and overlay here.")
]
AllFindings = Annotated[bool, typer.Option("--all-findings", help="List what the model does not assess, too.")]
Batch = Annotated[bool, typer.Option("--batch", help="Nobody waits: let single images go first.")]
Stream = Annotated[
    bool, typer.Option("--stream", help="Show how far each image is; a server gets it in chunks, resumed after a cut.")
]
Runtime = Annotated[
    str | None,
    typer.Option("--runtime", metavar="R", help="What runs the network here: openvino, onnxruntime, auto."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write the answers as a study: .jsonl, .csv or .html. A run that was cut off goes on when repeated.",
    ),
]
Restart = Annotated[bool, typer.Option("--restart", help="With --out: drop what an earlier run left, begin anew.")]
Language = Annotated[
    str | None, typer.Option("--language", metavar="en|fr", help="With --out FILE.html: the language of the page.")
]


def tls_of(ca: Path | None, certificate: Path | None, key: Path | None) -> dict[str, Path | None]:
    """The three options as `irmsia.app.configure.read_settings` takes them."""
    return {"ca": ca, "certificate": certificate, "key": key}
