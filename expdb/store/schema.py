"""The schema, declared once: created, checked and documented from these classes.

Importing this module costs most of a second (SQLModel); the hot paths of the store do without it.
Names: `_ms` is milliseconds since 1970 in UTC, `_bytes` a size. SQLModel's int is 32 bits on PostgreSQL,
so whatever counts steps, lines, milliseconds or bytes says BIGINT.
"""

from functools import cache

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlmodel import Field, SQLModel
from sqlmodel.sql.sqltypes import AutoString

from expdb.store.database import SCHEMA_VERSION, VERSION_TABLE, revision


class Meta(SQLModel, table=True):
    """Facts about the database itself: schema_version."""

    __tablename__ = "meta"

    key: str = Field(primary_key=True)
    value: str


class Experiment(SQLModel, table=True):
    """Runs that are compared with each other. id 0, 'Default', always exists."""

    __tablename__ = "experiment"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    note: str | None = None
    artifact_uri: str | None = None
    created_ms: int = Field(sa_type=BigInteger)
    updated_ms: int = Field(sa_type=BigInteger)
    deleted_ms: int | None = Field(default=None, sa_type=BigInteger)


class ExperimentTag(SQLModel, table=True):
    """What was written about an experiment."""

    __tablename__ = "experiment_tag"

    experiment_id: int = Field(primary_key=True, foreign_key="experiment.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    value: str


class Run(SQLModel, table=True):
    """One training with one configuration and one seed, or one result that a page reports.

    origin: log, page, launch, api, mlflow. status: scheduled, running, finished, failed, killed.
    """

    __tablename__ = "run"
    __table_args__ = (Index("run_by_name", "experiment_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    uid: str = Field(unique=True)
    experiment_id: int = Field(foreign_key="experiment.id")
    parent_id: int | None = Field(default=None, foreign_key="run.id")
    name: str
    origin: str
    status: str
    user_name: str | None = None
    seed: int | None = Field(default=None, sa_type=BigInteger)
    note: str | None = None
    artifact_uri: str | None = None
    started_ms: int | None = Field(default=None, sa_type=BigInteger)
    ended_ms: int | None = Field(default=None, sa_type=BigInteger)
    deleted_ms: int | None = Field(default=None, sa_type=BigInteger)


class Param(SQLModel, table=True):
    """What was chosen before the run. number: the value as a number, where it is one."""

    __tablename__ = "param"
    # Long values (a pasted configuration) would break an index over the whole value on PostgreSQL.
    __table_args__ = (Index("param_by_value", "key", text("substr(value, 1, 200)")),)

    run_id: int = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    value: str
    number: float | None = None


class Tag(SQLModel, table=True):
    """What was written after the run."""

    __tablename__ = "tag"
    __table_args__ = (Index("tag_by_value", "key", text("substr(value, 1, 200)")),)

    run_id: int = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    value: str


class Metric(SQLModel, table=True):
    """One curve of one run (kind curve) or one number that a page states (kind reported), and its summary.

    key: what a client wrote and reads back; label: what a log printed; name: canonical. rule: how a page
    chose a reported value, where it says so. decimals: digits printed behind the point, NULL where an
    exponent was printed. A NULL in a *_value beside count > 0 is NaN. last: the point with the greatest
    (step, time, seq); a tie in min and max goes to the first to arrive; nonfinite counts NaN and ±inf.
    """

    __tablename__ = "metric"
    __table_args__ = (UniqueConstraint("run_id", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id", ondelete="CASCADE")
    key: str
    name: str
    label: str
    kind: str
    rule: str | None = None
    unit: str | None = None
    decimals: int | None = None
    step_unit: str
    count: int = Field(sa_type=BigInteger)
    nonfinite: int = Field(sa_type=BigInteger)
    first_step: int | None = Field(default=None, sa_type=BigInteger)
    first_value: float | None = None
    last_step: int | None = Field(default=None, sa_type=BigInteger)
    last_time_ms: int | None = Field(default=None, sa_type=BigInteger)
    last_value: float | None = None
    min_step: int | None = Field(default=None, sa_type=BigInteger)
    min_value: float | None = None
    max_step: int | None = Field(default=None, sa_type=BigInteger)
    max_value: float | None = None


class Point(SQLModel, table=True):
    """One value. seq: order of arrival, for a metric may hold several values for one step.

    epoch: only where the step is not the epoch. source_no: which of the run's sources; line: 1-based.
    A NULL value is NaN; ±inf is itself.
    """

    __tablename__ = "point"
    # The key is the order of reading, and the table is its own index.
    __table_args__ = ({"sqlite_with_rowid": False},)

    metric_id: int = Field(primary_key=True, foreign_key="metric.id", ondelete="CASCADE")
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    step: int | None = Field(default=None, sa_type=BigInteger)
    epoch: float | None = None
    value: float | None = None
    time_ms: int | None = Field(default=None, sa_type=BigInteger)
    source_no: int | None = None
    line: int | None = Field(default=None, sa_type=BigInteger)


class Source(SQLModel, table=True):
    """What runs were read from. sha256, size_bytes and line_count end at the last line feed taken in.

    tail_sha256: of an unterminated last line, which is read and replaced when it grows. ingested_ms: when it was first
    taken in. content: a page, compressed by zlib, so that it can be quoted after it changed; logs stay where they are.
    """

    __tablename__ = "source"

    id: int | None = Field(default=None, primary_key=True)
    sha256: str = Field(index=True)
    tail_sha256: str | None = None
    size_bytes: int = Field(sa_type=BigInteger)
    line_count: int = Field(sa_type=BigInteger)
    format: str
    parser_version: int
    encoding: str
    unparsed: int = Field(sa_type=BigInteger)
    ingested_ms: int = Field(sa_type=BigInteger)
    content: bytes | None = Field(default=None, sa_type=LargeBinary)


class SourcePlace(SQLModel, table=True):
    """Where a source was found. path: relative to the database's folder where that makes sense, `/` between parts."""

    __tablename__ = "source_place"

    source_id: int = Field(primary_key=True, foreign_key="source.id", ondelete="CASCADE")
    path: str = Field(primary_key=True, index=True)


class RunSource(SQLModel, table=True):
    """Which lines of which sources a run was read from; source_no counts them from 1."""

    __tablename__ = "run_source"

    run_id: int = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    source_no: int = Field(primary_key=True)
    source_id: int = Field(foreign_key="source.id", index=True)
    line_first: int = Field(sa_type=BigInteger)
    line_last: int = Field(sa_type=BigInteger)


class PurgedRun(SQLModel, table=True):
    """Where a run began that was deleted for good: its source, when it grows, does not bring it back."""

    __tablename__ = "purged_run"

    source_id: int = Field(primary_key=True, foreign_key="source.id", ondelete="CASCADE")
    line_first: int = Field(primary_key=True, sa_type=BigInteger)


class Edit(SQLModel, table=True):
    """The journal of corrections by hand. field: name, note, param, tag, unit, metric; old NULL: there was nothing."""

    __tablename__ = "edit"

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id", ondelete="CASCADE", index=True)
    edited_ms: int = Field(sa_type=BigInteger)
    field: str
    key: str | None = None
    old: str | None = None
    new: str | None = None


class Dataset(SQLModel, table=True):
    """Data that runs were trained on, as MLflow names it."""

    __tablename__ = "dataset"
    __table_args__ = (UniqueConstraint("experiment_id", "name", "digest"),)

    id: int | None = Field(default=None, primary_key=True)
    uid: str = Field(unique=True)
    experiment_id: int = Field(foreign_key="experiment.id")
    name: str
    digest: str
    source_type: str
    source: str
    # Not called schema: that would hide a method of SQLModel's.
    data_schema: str | None = None
    profile: str | None = None


class RunDataset(SQLModel, table=True):
    """A run read a data set. context: training, evaluation, ..."""

    __tablename__ = "run_dataset"

    run_id: int = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    dataset_id: int = Field(primary_key=True, foreign_key="dataset.id", ondelete="CASCADE")
    context: str | None = None


class RunDatasetTag(SQLModel, table=True):
    """What was written about a run's reading of a data set, but for its context."""

    __tablename__ = "run_dataset_tag"

    run_id: int = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    dataset_id: int = Field(primary_key=True, foreign_key="dataset.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    value: str


class LoggedModel(SQLModel, table=True):
    """A model that a run wrote, as MLflow names it."""

    __tablename__ = "logged_model"

    id: int | None = Field(default=None, primary_key=True)
    uid: str = Field(unique=True)
    experiment_id: int = Field(foreign_key="experiment.id")
    run_id: int | None = Field(default=None, foreign_key="run.id", ondelete="SET NULL")
    name: str
    model_type: str | None = None
    status: str
    status_message: str | None = None
    artifact_uri: str
    created_ms: int = Field(sa_type=BigInteger)
    updated_ms: int = Field(sa_type=BigInteger)
    deleted_ms: int | None = Field(default=None, sa_type=BigInteger)


class LoggedModelParam(SQLModel, table=True):
    """What was chosen before a logged model was made."""

    __tablename__ = "logged_model_param"

    model_id: int = Field(primary_key=True, foreign_key="logged_model.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    value: str


class LoggedModelTag(SQLModel, table=True):
    """What was written about a logged model."""

    __tablename__ = "logged_model_tag"

    model_id: int = Field(primary_key=True, foreign_key="logged_model.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    value: str


class LoggedModelMetric(SQLModel, table=True):
    """A number that a run's client said of a logged model, on a data set where it named one; NULL is NaN.

    It is a point of the run's curve too. seq: order of arrival.
    """

    __tablename__ = "logged_model_metric"

    model_id: int = Field(primary_key=True, foreign_key="logged_model.id", ondelete="CASCADE")
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    run_id: int = Field(foreign_key="run.id", ondelete="CASCADE", index=True)
    key: str
    step: int = Field(sa_type=BigInteger)
    value: float | None = None
    time_ms: int = Field(sa_type=BigInteger)
    dataset_name: str | None = None
    dataset_digest: str | None = None


class RunModel(SQLModel, table=True):
    """A run read a logged model, or wrote it. direction: input or output."""

    __tablename__ = "run_model"

    run_id: int = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    model_id: int = Field(primary_key=True, foreign_key="logged_model.id", ondelete="CASCADE")
    direction: str = Field(primary_key=True)
    step: int = Field(primary_key=True, sa_type=BigInteger)


class Counterpart(SQLModel, table=True):
    """The same run in another store: pulled from there, or pushed to it.

    store: the other store's name for itself; other_uid: the run's there. direction: pull or push. synced_ms: when
    everything had arrived, NULL while it is under way.
    """

    __tablename__ = "counterpart"

    store: str = Field(primary_key=True)
    other_uid: str = Field(primary_key=True)
    run_id: int = Field(foreign_key="run.id", ondelete="CASCADE", index=True)
    direction: str
    synced_ms: int | None = Field(default=None, sa_type=BigInteger)


class CounterpartName(SQLModel, table=True):
    """What a key is called in the other store, where that refuses ours. kind: metric, param or tag."""

    __tablename__ = "counterpart_name"

    store: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    ours: str = Field(primary_key=True)
    theirs: str


class Artifact(SQLModel, table=True):
    """A file that belongs to a run."""

    __tablename__ = "artifact"
    __table_args__ = (UniqueConstraint("run_id", "path"),)

    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="run.id", ondelete="CASCADE")
    path: str
    kind: str | None = None
    size_bytes: int | None = Field(default=None, sa_type=BigInteger)
    sha256: str | None = None


class Claim(SQLModel, table=True):
    """A sentence about results, bound to the expressions that decide it. source: the page and line it stands on."""

    __tablename__ = "claim"

    id: int | None = Field(default=None, primary_key=True)
    text: str
    a: str | None = None
    b: str | None = None
    metric: str | None = None
    op: str | None = None
    test: str | None = None
    source_id: int | None = Field(default=None, foreign_key="source.id")
    line: int | None = Field(default=None, sa_type=BigInteger)
    created_ms: int = Field(sa_type=BigInteger)


class Finding(SQLModel, table=True):
    """What an audit found: rule, evidence and severity."""

    __tablename__ = "finding"

    id: int | None = Field(default=None, primary_key=True)
    run_id: int | None = Field(default=None, foreign_key="run.id", ondelete="CASCADE")
    source_id: int | None = Field(default=None, foreign_key="source.id")
    line: int | None = Field(default=None, sa_type=BigInteger)
    rule: str
    severity: str
    evidence: str
    created_ms: int = Field(sa_type=BigInteger)


class Provenance(SQLModel, table=True):
    """What a launched run ran on."""

    __tablename__ = "provenance"

    run_id: int = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    command: str | None = None
    cwd: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    git_diff: str | None = None
    host: str | None = None
    gpu: str | None = None
    driver: str | None = None
    python: str | None = None
    torch: str | None = None
    cuda: str | None = None
    packages: str | None = None
    expdb_version: str | None = None
    runner: str | None = None
    attempt: int | None = None
    exit_code: int | None = None


# Their order of writing is asked for. A row that is put again stands last.
IN_ORDER = ("param", "tag", "source_place")

VIEWS = {
    "run_summary": """
SELECT r.uid, e.name AS experiment, r.name AS run, r.origin, r.status, r.seed, r.note, r.started_ms, r.ended_ms,
       (SELECT count(*) FROM metric m WHERE m.run_id = r.id) AS metrics,
       (SELECT coalesce(sum(m.count), 0) FROM metric m WHERE m.run_id = r.id) AS points
FROM run r JOIN experiment e ON e.id = r.experiment_id
WHERE r.deleted_ms IS NULL AND e.deleted_ms IS NULL""",
    "curve": """
SELECT r.uid, e.name AS experiment, r.name AS run, m.name AS metric, m.label, m.kind, m.unit, p.seq, p.step,
       CASE WHEN m.step_unit = 'epoch' THEN coalesce(p.epoch, p.step) ELSE p.epoch END AS epoch,
       p.value, p.time_ms, p.source_no, p.line
FROM point p
JOIN metric m ON m.id = p.metric_id JOIN run r ON r.id = m.run_id JOIN experiment e ON e.id = r.experiment_id
WHERE r.deleted_ms IS NULL AND e.deleted_ms IS NULL""",
    "experiment_summary": """
SELECT e.name AS experiment, e.note, count(DISTINCT r.id) AS runs, count(m.id) AS metrics,
       coalesce(sum(m.count), 0) AS points, e.created_ms, e.updated_ms
FROM experiment e
LEFT JOIN run r ON r.experiment_id = e.id AND r.deleted_ms IS NULL
LEFT JOIN metric m ON m.run_id = r.id
WHERE e.deleted_ms IS NULL
GROUP BY e.id, e.name, e.note, e.created_ms, e.updated_ms""",
}


@cache
def statements(dialect: str) -> tuple[str, ...]:
    """What creates an empty database: tables, indexes, views, the schema's version and experiment 0.

    dialect: sqlite or postgresql.
    """
    engine = {"sqlite": sqlite.dialect, "postgresql": postgresql.dialect}[dialect]()
    declared = SQLModel.metadata if dialect == "sqlite" else on_server()
    out: list[str] = []
    for table in declared.sorted_tables:
        out.append(str(CreateTable(table).compile(dialect=engine)).strip())
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        out += [str(CreateIndex(index).compile(dialect=engine)).strip() for index in indexes]
    out += [f"CREATE VIEW {name} AS{body}" for name, body in VIEWS.items()]
    out.append(f"INSERT INTO meta (key, value) VALUES ('schema_version', '{SCHEMA_VERSION}')")
    # As Alembic makes it, so that the first upgrade finds where it stands.
    version = Table(
        VERSION_TABLE,
        MetaData(),
        Column("version_num", String(32), nullable=False),
        PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    )
    out.append(str(CreateTable(version).compile(dialect=engine)).strip())
    out.append(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{revision(SCHEMA_VERSION)}')")
    out.append("INSERT INTO experiment (id, name, created_ms, updated_ms) VALUES (0, 'Default', 0, 0)")
    if dialect == "postgresql":
        # How often it was changed: what SQLite's data_version tells.
        out.append("INSERT INTO meta (key, value) VALUES ('changes', '0')")
    return tuple(out)


def on_server() -> MetaData:
    """The same tables as PostgreSQL is to have them, with what SQLite does by itself.

    - rowid, the order of writing, where the store asks for it;
    - text sorted by its code points, not as the server's country sorts words;
    - references are checked when all is written, as a run's rows come in any order; those of points are not, which
      would take longer than storing them (`db check` looks for points without a metric).
    """
    out = MetaData()
    for declared in SQLModel.metadata.sorted_tables:
        table = declared.to_metadata(out)
        for column in table.columns:
            if isinstance(column.type, AutoString):
                column.type = String(collation="C")
        for reference in list(table.foreign_key_constraints):
            if table.name == "point":
                table.constraints.discard(reference)
            reference.deferrable, reference.initially = True, "DEFERRED"
        if table.name in IN_ORDER:
            table.append_column(Column("rowid", BigInteger, Identity(), nullable=False))
    return out
