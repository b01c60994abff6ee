"""
Rows to line protocol, by Polars expressions: `measurement,tag=value field=value time`, one line a row.

A null field is left out. Line protocol cannot hold every text in a tag: a backslash, a control character and the
percent sign are percent-encoded there, the empty text is `-`, and null is `%`.
"""

from collections.abc import Iterable

import polars as pl

from ingest.errors import RowsRefused
from ingest.store.influx.layout import FIRST, LAST, NS, PART, PARTS, SPECIAL, TEXT, Layout

SERIES = "_series"
_CODED = {character: f"%{ord(character):02X}" for character in map(chr, [*range(32), 37, 92, 127])}
_ESCAPED = {",": "\\,", " ": "\\ ", "=": "\\="}
_ODD = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "-0.0": -0.0}


def coded(text: pl.Expr) -> pl.Expr:
    """Return a text as the value of a tag, before the escapes of line protocol."""
    plain = text.str.replace_many(list(_CODED), list(_CODED.values()))
    return pl.when(text == "").then(pl.lit("-")).when(text == "-").then(pl.lit("%2D")).otherwise(plain).fill_null("%")


def uncoded(tag: pl.Expr) -> pl.Expr:
    """Return the text a tag stands for."""
    plain = tag.str.replace_many([*_CODED.values(), "%2D"], [*_CODED, "-"])
    return pl.when(tag == "-").then(pl.lit("")).when(tag != "%").then(plain)


def holdable(layout: Layout, rows: pl.DataFrame) -> None:
    """
    Check what InfluxDB cannot hold and does not always refuse.

    Raises:
        RowsRefused: a time or a text does not fit.
    """
    table = layout.table
    time = pl.col(table.time).dt.timestamp("us")
    moment = time.is_between(FIRST, LAST + 1 - layout.tick).not_().sum().alias(table.time)
    texts = [name for name in layout.fields if table.schema[name] == pl.String]
    long = [(pl.col(name).str.len_bytes() > TEXT).sum() for name in texts]
    binary = (pl.selectors.binary().bin.size() > PART * PARTS).sum()
    found = rows.select(moment, *long, binary).row(0, named=True)
    problems = [
        f"`{name}` "
        + (
            "lies outside of 1677-09-21 to 2262-04-11"
            if name == table.time
            else f"is longer than {_longest(name, texts)} bytes"
        )
        + f" in {n} of them"
        for name, n in found.items()
        if n
    ]
    if layout.tick > 1 and (n := rows.select((time % layout.tick != 0).sum()).item()):
        problems.append(f"`{table.time}` is no whole second in {n} of them")
    if problems:
        raise RowsRefused(f"table {table.name} refused the rows: {'; '.join(problems)}, which InfluxDB cannot hold")


def _longest(name: str, texts: list[str]) -> int:
    return TEXT if name in texts else PART * PARTS


def ordered(layout: Layout, rows: pl.DataFrame) -> pl.DataFrame:
    """
    Put rows in the order that is the least work for the server: a series at once, and in order of time.

    Args:
        layout: of the table.
        rows: the table's columns, the shard where there is one, and `NS`, the time of the point.

    Returns:
        The same columns, and `SERIES`, the measurement and tags as lines name them.
    """
    tags = list(layout.series)
    told = pl.concat_str(pl.lit(layout.table.name), *(_tag(name) for name in tags))
    series = rows.select(tags).unique().sort(tags).with_columns(told.alias(SERIES)).with_row_index("_order")
    numbered = rows.join(series, on=tags, how="left", nulls_equal=True, maintain_order="left")
    # rows mostly come in order of time: to sort by one number and leave the rest as it is takes a fifth
    by = ["_order"] if numbered[NS].is_sorted() else ["_order", NS]
    return numbered.sort(by, maintain_order=True).drop("_order")


def lines(layout: Layout, rows: pl.DataFrame) -> pl.Series:
    """
    Write rows as lines.

    Args:
        layout: of the table.
        rows: what `ordered` returns, or a part of it.
    """
    told = rows.select(
        SERIES, NS, *(value for name in layout.fields for value in _values(layout, name)), *special(layout, rows)
    )
    empty = {name: told[name].null_count() for name in told.columns[2:]}
    fields = {name: _field(name, told[name].dtype) for name, nulls in empty.items() if nulls < rows.height}
    whole = [piece for name, field in fields.items() if not empty[name] for piece in (",", *field)][1:]
    some = [field for name, field in fields.items() if empty[name]]
    # all of a line at once is half the work; a field that some rows lack has to be a text of its own first
    if whole:
        body = [*whole, *(_text([",", *field]) for field in some)]
    else:
        body = [pl.concat_str(map(_text, some), separator=",", ignore_nulls=True)]
    return told.select(_text([pl.col(SERIES), " ", *body, " ", pl.col(NS)], ignore_nulls=True)).to_series()


def special(layout: Layout, rows: pl.DataFrame) -> list[pl.Expr]:
    """Name what of each row no field can hold, in the field `SPECIAL`; nothing where there is no such row."""
    floats = {name: pl.col(name) for name in layout.fields if layout.table.schema[name] == pl.Float64}
    strange = [(~value.is_finite() | _minus_zero(value)).any() for value in floats.values()]
    if (
        not rows[layout.anchor].null_count()
        and not rows.select(pl.any_horizontal(pl.lit(value=False), *strange)).item()
    ):
        return []
    odd = [
        pl.when(value.is_nan())
        .then(pl.lit(f"{name}=nan,"))
        .when(value.is_infinite() | _minus_zero(value))
        .then(pl.concat_str(pl.lit(f"{name}="), value.cast(pl.String), pl.lit(",")))
        for name, value in floats.items()
    ]
    told = pl.concat_str(*odd, ignore_nulls=True) if odd else pl.lit("")
    return [
        pl.when((told != "") | pl.col(layout.anchor).is_null()).then(pl.concat_str(pl.lit(","), told)).alias(SPECIAL)
    ]


def _minus_zero(value: pl.Expr) -> pl.Expr:
    return 1 / value == float("-inf")  # JSON says -0, which is a whole 0


def restored(layout: Layout, rows: pl.DataFrame) -> pl.DataFrame:
    """Put back what `SPECIAL` names."""
    if rows[SPECIAL].null_count() == rows.height:
        return rows
    floats = [name for name in rows.columns if layout.table.schema.get(name) == pl.Float64]
    return rows.with_columns(_restored(name) for name in floats)


def _restored(name: str) -> pl.Expr:
    value = pl.col(name)
    for text, odd in _ODD.items():
        hit = pl.col(SPECIAL).str.contains(f",{name}={text},", literal=True).fill_null(value=False)
        value = pl.when(hit).then(pl.lit(odd)).otherwise(value)
    return value.alias(name)


def _tag(name: str) -> pl.Expr:
    value = coded(pl.col(name)).str.replace_many(list(_ESCAPED), list(_ESCAPED.values()))
    return pl.concat_str(pl.lit(f",{name}="), value)


def _values(layout: Layout, name: str) -> list[pl.Expr]:
    """Return the fields of a column; what a field cannot hold is null."""
    dtype, value = layout.table.schema[name], pl.col(name)
    if dtype == pl.Float64:
        return [pl.when(value.is_finite()).then(value).alias(name)]
    if dtype == pl.Binary:
        return [_part(value, n).alias(field) for n, field in enumerate(parts(name))]
    return [value.dt.timestamp("us") if dtype == pl.Datetime else value]


def _field(name: str, dtype: pl.DataType) -> list[str | pl.Expr]:
    """Return the pieces a field is written as."""
    value = pl.col(name)
    if dtype == pl.Float64:
        return [f"{name}=", value]
    if dtype == pl.String:
        return [f'{name}="', value.str.replace_many(["\\", '"'], ["\\\\", '\\"']), '"']
    return [f"{name}=", value, "i"]


def _text(pieces: Iterable[str | pl.Expr], *, ignore_nulls: bool = False) -> pl.Expr:
    """Put pieces together; each one more costs, so texts beside each other become one."""
    put: list[pl.Expr] = []
    plain = ""
    for piece in pieces:
        if isinstance(piece, str):
            plain += piece
        else:
            put += [pl.lit(plain), piece] if plain else [piece]
            plain = ""
    return pl.concat_str([*put, pl.lit(plain)] if plain else put, ignore_nulls=ignore_nulls)


def _part(value: pl.Expr, number: int) -> pl.Expr:
    here = (value.bin.size() > number * PART) if number else value.is_not_null()
    return pl.when(here).then(value.bin.slice(number * PART, PART).bin.encode("base64"))


def parts(name: str) -> list[str]:
    """Name the fields a binary column lies in."""
    return [name, *(f"{name}_{number}" for number in range(1, PARTS))]


def joined(name: str) -> pl.Expr:
    """Put a binary column together from its parts."""
    text = pl.concat_str(parts(name), ignore_nulls=True)
    return pl.when(pl.col(name).is_not_null()).then(text).str.decode("base64").alias(name)
