"""Records of one line each: JSON lines as DeiT, mmcv, mmengine, Detectron2, W&B, fairseq, ms-swift and LLaMA-Factory
write them, and the dicts that the Hugging Face Trainer prints, alone or among other lines."""

import json
from collections.abc import Iterator

from expdb.parsers import CERTAIN, Options
from expdb.parsers.jsons import fields
from expdb.parsers.jsons.records import RecordReader
from expdb.parsers.jsons.text import OPENS, PLAIN, Batch, Record, Skipped, batch_of, record_of
from expdb.parsers.reading import Reading, Sample
from expdb.records import Event

NAME = "json-lines"
VERSION = 1
SUMMARY = "one record a line: JSON lines (DeiT, mmcv, mmengine, Detectron2), dicts as the HF Trainer prints them"

# Among other lines, so many records are no accident.
ENOUGH = 3
_AMONG_OTHERS = 0.97
# Of records without a step, or without a number that anyone knows.
_HALF_SURE = 0.6
# Records looked at: the first are the configuration's, the last are like those between.
_LOOKED_AT = 32
# A longer line states a configuration.
_LONGEST = 8192


def recognise(sample: Sample) -> float:
    """Certain of a file that is made of records with a step and a result; sure of one that has some among other
    lines."""
    text = sample.text
    # One character is found ten times as fast as two.
    if "{" not in text:
        return 0.0
    if "{'" not in text and '{"' not in text and "{ " not in text:
        return 0.0
    if sample.whole and _is_document(text):
        return 0.0
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    likely = [line for line in lines if "}" in line and any(mark in line for mark in OPENS)]
    alone = sum(line.lstrip()[0] == "{" for line in lines) * 2 > len(lines)
    if not likely or (not alone and len(likely) < ENOUGH):
        return 0.0
    stride = max(1, len(likely) // _LOOKED_AT)
    looked_at = [line for line in likely[:4] + likely[4::stride][:_LOOKED_AT] if len(line) <= _LONGEST]
    records: list[Record] = [record for record in map(record_of, looked_at) if record]
    found = fields.evidence(records)
    if len(likely) == len(lines) == 1 and (not found.stepped or "_runtime" in records[0]):
        # Results alone, or a tracker's summary: a document.
        return 0.0
    # Items of a data set have scores, too: texts tell them apart, and no step does.
    items = found.told_apart and found.stepped * 2 < found.count
    if alone and len(records) * 2 > len(looked_at):
        if found.both or (found.measured and found.stepped):
            return CERTAIN
        if found.measured * 2 > found.count or (found.stepped * 2 > found.count and found.moving):
            return 0.0 if items else _HALF_SURE
        return 0.0
    return _AMONG_OTHERS if found.measured >= ENOUGH and not items else 0.0


def parse(reading: Reading, options: Options) -> Iterator[Event]:
    """Runs of the records, in the order of the file."""
    del options

    def source(decoder: json.JSONDecoder, skipped: Skipped) -> Iterator[Batch]:
        for block in reading.blocks():
            text = block.text
            batch = batch_of(block.line, text[:-1] if text.endswith("\n") else text, decoder, skipped)
            batch = _without_mentions(batch, skipped)
            if batch.records:
                yield batch

    yield from RecordReader(source).events()


def _without_mentions(batch: Batch, skipped: Skipped) -> Batch:
    """The batch without the dicts that a line of text mentions: `accelerator_config={'split': False}`."""
    mentioned = [at for at, text in enumerate(batch.texts) if text[:1] != "{" and not text.lstrip().startswith("{")]
    told = [at for at in mentioned if not _tells(batch.records[at])]
    if not told:
        return batch
    for at in told:
        skipped.add(batch.lines[at], batch.texts[at])
    out = frozenset(told)
    kept = [at for at in range(len(batch.records)) if at not in out]
    return Batch([batch.lines[at] for at in kept], [batch.records[at] for at in kept], [batch.texts[at] for at in kept])


def _tells(record: Record) -> bool:
    found = fields.evidence([record])
    return found.stepped + found.measured > 0


def _is_document(text: str) -> bool:
    """Whether the text is one object or list over several lines."""
    body = text.strip()
    if body[:1] + body[-1:] not in ("{}", "[]") or "\n" not in body:
        return body[:1] == "[" and body[-1:] == "]"
    try:
        PLAIN.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


__all__ = ["NAME", "SUMMARY", "VERSION", "parse", "recognise", "record_of"]
