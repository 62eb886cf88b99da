"""`irmsia data`: from public sources and folders to training-ready, leak-free, versioned sets."""

from __future__ import annotations

import typer

from irmsia.cli import (
    data_catalogue,
    data_collect,
    data_organise,
    data_scan,
    data_sources,
    data_split,
    data_stats,
)

app = typer.Typer(name="data", help="Datasets: collect, catalogue, organise, split, prove.", no_args_is_help=True)
# Each file `data_*.py` adds its commands, in the order in which they are met.
data_sources.register(app)
data_collect.register(app)
data_scan.register(app)
data_catalogue.register(app)
data_organise.register(app)
data_stats.register(app)
data_split.register(app)
