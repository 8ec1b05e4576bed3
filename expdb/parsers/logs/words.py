"""Words of log lines that are neither steps nor quantities: of sentences, of loggers, of what is numbered."""

# A label that ends in one of these is the end of a sentence.
PROSE = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "is", "it", "of", "on"),
        *("or", "than", "that", "the", "then", "to", "took", "was", "were", "with", "after", "about", "over", "under"),
        *("between", "up", "down", "into", "only", "just", "using", "version", "v"),
    )
)
# What a line says before it says where the training is, or how it goes.
LEAD = frozenset(
    (
        *(
            "trainer",
            "start",
            "starting",
            "started",
            "begin",
            "beginning",
            "begins",
            "end",
            "ending",
            "training",
            "train",
        ),
        *("running", "of", "the", "current", "for", "at", "in", "on", "result", "results", "summary", "stats"),
        *("metrics", "log", "info", "done", "finished", "completed", "this", "average", "averaged", "avg", "mean"),
    )
)
# Numbers of these are names.
INDEXED = frozenset(
    (
        *("rank", "gpu", "cuda", "device", "worker", "node", "process", "pid", "port", "seed", "fold", "line", "page"),
        *("table", "figure", "version", "layer", "cpu", "job", "local_rank", "world_size", "num_workers"),
    )
)
# "loss at epoch 3" tells of the epoch.
BEFORE_STEP = frozenset(("for", "at", "of", "after", "in", "until", "to", "from", "on"))
# What a logger writes in front of its message.
LEVELS = frozenset(
    (
        *("info", "debug", "warning", "warn", "error", "critical", "trace", "root", "main", "log", "logger", "stdout"),
        *("stderr", "output", "net", "tensorflow"),
    )
)
# What may stand beside the step on a line that says nothing else.
BESIDE_STEP = frozenset(
    (
        *("info", "root", "debug", "main", "log", "print", "batch", "micro", "total", "batches", "evaluating", "net"),
        "i",
    )
)
