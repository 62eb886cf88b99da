"""The platform's database: its tables, their migrations, and the rows of datasets.

`database` opens and migrates it, `schema` names its tables, `failures` turns what a database says into typed errors,
`samples` reads and writes the rows of one dataset as they were and are.
"""

from irmsia.store.database import open_database

__all__ = ["open_database"]
