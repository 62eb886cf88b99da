"""One file a format, each a function `open_*` that gives a `Source` of frames."""
