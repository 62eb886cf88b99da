"""Options that several commands share, with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object a line on standard output, and nothing else there.")
]
Server = Annotated[
    str | None,
    typer.Option("--server", metavar="auto|HOST:PORT", help="The gRPC server to ask; auto: the one that runs here."),
]
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
Batch = Annotated[bool, typer.Option("--batch", help="Answer several images at once; this is so anyway.")]
Runtime = Annotated[
    str | None,
    typer.Option("--runtime", metavar="R", help="What runs the network here: openvino, onnxruntime, auto."),
]
