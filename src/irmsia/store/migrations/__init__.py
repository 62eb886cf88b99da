"""How the tables came to be what they are, one file a step; Alembic runs what a database still lacks."""
