"""Images in: read any format, guard, look, preprocess, geometry, phantoms."""
