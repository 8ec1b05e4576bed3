"""What a tracking server keeps: words of logged models, tags of data sets read, runs in other stores."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From 0001: seven tables more, nothing changed."""
    op.create_table(
        "counterpart_name",
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("ours", sa.String(), nullable=False),
        sa.Column("theirs", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("store", "kind", "ours"),
    )
    op.create_table(
        "counterpart",
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("other_uid", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("synced_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("store", "other_uid"),
    )
    op.create_index("ix_counterpart_run_id", "counterpart", ["run_id"])
    op.create_table(
        "run_dataset_tag",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "dataset_id", "key"),
    )
    op.create_table(
        "logged_model_metric",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("dataset_name", sa.String(), nullable=True),
        sa.Column("dataset_digest", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["logged_model.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id", "seq"),
    )
    op.create_index("ix_logged_model_metric_run_id", "logged_model_metric", ["run_id"])
    op.create_table(
        "logged_model_param",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["logged_model.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id", "key"),
    )
    op.create_table(
        "logged_model_tag",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["logged_model.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id", "key"),
    )
    op.create_table(
        "run_model",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["model_id"], ["logged_model.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "model_id", "direction", "step"),
    )
