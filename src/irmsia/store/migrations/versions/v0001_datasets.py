"""The catalogue of datasets: datasets, their revisions, their samples as they were and are, their splits."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_OPEN = sa.text("until IS NULL")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("about", sa.JSON, nullable=False),
        sa.Column("head", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dataset"),
        sa.UniqueConstraint("name", name="uq_dataset_name"),
    )
    op.create_table(
        "revision",
        _dataset_key(),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("note", sa.JSON, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "number", name="pk_revision"),
        _references_dataset("revision"),
    )
    op.create_table(
        "sample",
        sa.Column("id", _key(), nullable=False),
        _dataset_key(),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("until", sa.Integer),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("modified_ns", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("label", sa.Text),
        sa.Column("facts", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sample"),
        sa.UniqueConstraint("dataset_id", "path", "since", name="uq_sample_dataset_id_path_since"),
        _references_dataset("sample"),
    )
    op.create_index(
        "ix_sample_open", "sample", ["dataset_id", "path"], unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    if op.get_bind().dialect.name == "sqlite":
        listed = ["dataset_id", "path", "size", "modified_ns", "sha256", "label", "until"]
        op.create_index("ix_sample_listed", "sample", listed, sqlite_where=_OPEN)
    op.create_table(
        "split",
        sa.Column("id", _key(), nullable=False),
        _dataset_key(),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_split"),
        _references_dataset("split"),
    )
    op.create_index("ix_split_dataset_id", "split", ["dataset_id"])


def _key() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _dataset_key() -> sa.Column[int]:
    return sa.Column("dataset_id", sa.Integer, nullable=False)


def _references_dataset(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=f"fk_{table}_dataset_id", ondelete="CASCADE")
