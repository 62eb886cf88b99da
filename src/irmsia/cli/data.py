"""`irmsia data`: from public sources and folders to training-ready, leak-free, versioned sets."""

from __future__ import annotations

import typer

from irmsia.cli import data_collect
from irmsia.cli import data_catalogue, data_scan, data_split
from irmsia.cli import data_sources

app = typer.Typer(name="data", help="Datasets: collect, catalogue, organise, split, prove.", no_args_is_help=True)
# Each file `data_*.py` adds its commands.
data_collect.register(app)
from irmsia.cli import data_catalogue
# Each file `data_*.py` adds its commands: scan.register(app) ...
data_catalogue.register(app)
from irmsia.cli import data_scan
data_scan.register(app)
data_split.register(app)
from irmsia.cli import data_stats
data_stats.register(app)
data_sources.register(app)
