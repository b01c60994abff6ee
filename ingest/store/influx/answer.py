"""
The answer to a query: chunked JSON, one document a line, straight into columns.

An answer is whole or it is an error: the server says what went wrong in the middle of it, at any level, and ends it
cleanly. CSV would hide that.
"""

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import msgspec
import polars as pl

from ingest.errors import StoreError, StoreUnavailable
from ingest.store.influx.layout import NS
from ingest.store.influx.lines import uncoded

# of what a server says, what no later try can mend: InfluxDB 1 answers some of it with 500, or inside of an answer
LASTING = ("not found", "error parsing", "not authorized", "authorization failed", "max-select", "max-row-limit")
_ROWS = 20_000  # held as Python values before they become columns; more do not fit the processor's cache
_TYPES: dict[type[pl.DataType], Any] = {pl.Float64: float | None, pl.Int64: int | None, pl.String: str | None}


def frame(
    documents: Iterable[bytes], tags: Iterable[str], fields: Mapping[str, pl.DataType], *, source: str
) -> pl.DataFrame:
    """
    Decode an answer.

    Args:
        documents: of one statement.
        tags: those it is grouped by.
        fields: those it asks for, in this order, with the types `columns_of` gives.
        source: who answers, for the sentence of an error.

    Returns:
        The tags' texts, `NS`, the time of the point, and the fields.

    Raises:
        StoreUnavailable: the server broke off: it was stopped, the query was killed, or the answer is not whole.
        StoreError: the server says what no later try can mend, or the answer is none of InfluxDB.
    """
    try:
        return _frame(documents, tags, fields)
    except _AnswerError as error:
        raise error.kind(f"{source}: {error}") from error


class _AnswerError(Exception):
    """What is wrong with an answer, and the error it means."""

    def __init__(self, sentence: str, kind: type[StoreError] = StoreError) -> None:
        super().__init__(sentence)
        self.kind = kind


def _frame(documents: Iterable[bytes], tags: Iterable[str], fields: Mapping[str, pl.DataType]) -> pl.DataFrame:
    row = _row(fields)
    table = _Columns(list(tags), {NS: pl.Int64(), **fields}, row.__struct_fields__)
    last: bool | None = None
    decoder = msgspec.json.Decoder(_answer(row))
    for document in documents:
        try:
            answer = decoder.decode(document)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _AnswerError(f"the answer cannot be read: {error}; found {_start(document)}") from error
        last = _checked(answer).partial
        for series in answer.results[0].series:
            last = last or series.partial
            table.take(series)
    if last is not False:
        raise _AnswerError(
            "the answer came back incomplete: " + ("it is empty" if last is None else "more was to come")
        )
    return table.frame()


def _start(document: bytes) -> str:
    return repr(document[:100].decode(errors="replace"))


def _checked(answer: Any) -> Any:
    told = [answer.error, *(result.error for result in answer.results)]
    if found := next(filter(None, told), None):
        lasting = any(words in found for words in LASTING)
        raise _AnswerError(f"the query failed: {found}", StoreError if lasting else StoreUnavailable)
    if len(answer.results) != 1:
        raise _AnswerError(f"the answer has {len(answer.results)} results; wanted one")
    return answer.results[0]


def _row(fields: Mapping[str, pl.DataType]) -> Any:
    """Type of a row: a value of another type than its column's is an error, not a guess."""
    types = [int, *(_TYPES[type(dtype)] for dtype in fields.values())]
    # not a tuple: the garbage collector would walk over each of them
    named = [(f"c{number}", kind) for number, kind in enumerate(types)]
    return msgspec.defstruct("Row", named, array_like=True, forbid_unknown_fields=True, gc=False)


def _answer(row: Any) -> Any:
    """Type of the answer to one query."""
    series = msgspec.defstruct(
        "Series",
        [
            ("columns", list[str]),
            ("values", list[row], msgspec.field(default_factory=list)),
            ("tags", dict[str, str], msgspec.field(default_factory=dict)),
            ("partial", bool, False),
        ],
    )
    result = msgspec.defstruct(
        "Result",
        [
            ("series", list[series], msgspec.field(default_factory=list)),  # type: ignore[valid-type]
            ("error", str | None, None),
            ("partial", bool, False),
        ],
    )
    return msgspec.defstruct(
        "Answer",
        [
            ("results", list[result], msgspec.field(default_factory=list)),  # type: ignore[valid-type]
            ("error", str | None, None),
        ],
    )


class _Columns:
    """Collects series; what stands in tags is kept once for each and spread at the end."""

    def __init__(self, tags: list[str], schema: Mapping[str, pl.DataType], members: Iterable[str]) -> None:
        self._tags = tags
        self._schema = schema
        self._names = ["time", *list(schema)[1:]]
        self._columns = [attrgetter(member) for member in members]
        self._parts: list[pl.DataFrame] = []
        self._start()

    def take(self, series: Any) -> None:
        if series.columns != self._names:
            raise _AnswerError(f"the answer has columns {', '.join(series.columns)}; wanted {', '.join(self._names)}")
        for name, column in zip(self._tags, self._told, strict=True):
            column.append(series.tags.get(name))
        self._lengths.append(len(series.values))
        self._rows += series.values
        if len(self._rows) >= _ROWS:
            self._flush()

    def frame(self) -> pl.DataFrame:
        self._flush()
        return pl.concat(self._parts)

    def _start(self) -> None:
        self._rows: list[Any] = []
        self._lengths: list[int] = []
        self._told: list[list[str | None]] = [[] for _ in self._tags]

    def _flush(self) -> None:
        fields = pl.DataFrame(
            [
                pl.Series(name, list(map(column, self._rows)), dtype)
                for (name, dtype), column in zip(self._schema.items(), self._columns, strict=True)
            ]
        )
        told = pl.DataFrame(dict(zip(self._tags, self._told, strict=True)), dict.fromkeys(self._tags, pl.String))
        texts = told.select(uncoded(pl.col(name)).alias(name) for name in self._tags)
        spread = texts.select(pl.all().repeat_by(pl.Series(self._lengths, dtype=pl.UInt32)).explode())
        self._parts.append(pl.concat([spread, fields], how="horizontal"))
        self._start()
