"""One command each; prints what it measured."""
