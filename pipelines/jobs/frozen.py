"""
Frozen months: their figures are final. What would be another one now is kept beside them until a person decides.

    rows computed -> of an open month: stored
                  -> of a frozen month: compared with what is stored -> corrections: pending -> applied | dismissed

A period belongs to the month in which it ends: a year of twelve months belongs to its last one. Windows of twelve
months that end later use the frozen figures.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta

import polars as pl

from ingest.model import Period
from ingest.registry import Registry
from ingest.schema import BALANCE, CORRECTIONS, ENERGY, INDICATORS, TABLES, TIME, UNATTRIBUTED
from ingest.store.base import Store

# the figures of each table, and their units; the others are in the unit of the row
FIGURES: Mapping[str, Mapping[str, str | None]] = {
    ENERGY.name: {
        "quantity": None,
        "kwh": "kWh",
        "kgce": "kgce",
        "kg_co2": "kg CO2",
        "coverage": "1",
        "estimated": "1",
    },
    UNATTRIBUTED.name: {"quantity": None, "attributed": None, "steps": "1"},
    BALANCE.name: {"quantity": None, "subs": None, "difference": None, "tolerance": None, "coverage": "1"},
    INDICATORS.name: {"value": None, "numerator": "", "denominator": "", "coverage": "1"},
}

_FIGURE = ["facility", "of", "row", "figure"]
# relative: the same energy, spread over other steps, adds up to this
_NOISE = 1e-9
_TICK = timedelta(microseconds=1)


class Guarded:
    """
    A store that keeps the figures of frozen months: rows of theirs are not stored.

    Attributes:
        months: the frozen months: facility, month, until.
        kept: those of which rows came; they are to be compared with what is stored.
    """

    def __init__(self, store: Store, freezes: pl.DataFrame) -> None:
        """
        Prepare.

        Args:
            store: where rows go.
            freezes: FREEZES rows.
        """
        self._store = store
        self.months = freezes.select("facility", month="start", until="end")
        self.read, self.maintain, self.close = store.read, store.maintain, store.close
        self.kept: set[tuple[str, Period]] = set()

    def write(self, table: str, rows: pl.DataFrame) -> int:
        """Store the rows of open months. See `Store.write`."""
        if table not in FIGURES or self.months.is_empty():
            return self._store.write(table, rows)
        last = pl.col("end")
        bounds = rows.select(first=last.min(), last=last.max())
        near = self.months.join_where(bounds, pl.col("until") >= pl.col("first"), pl.col("month") < pl.col("last"))
        own = rows.join(near.select("facility", "month", "until"), on="facility")
        kept = own.filter(last > pl.col("month"), last <= pl.col("until"))
        months = kept.select("facility", "month", "until").unique()
        # in one step: shares are written from several threads
        self.kept.update((name, Period(start, end)) for name, start, end in months.iter_rows())
        return self._store.write(table, rows.join(kept, on=TABLES[table].key, how="anti"))


def ending(rows: pl.DataFrame, month: Period) -> pl.DataFrame:
    """Return the rows whose period ends in a month."""
    return rows.filter(pl.col("end") > month.start, pl.col("end") <= month.end)


def parted(
    days: Mapping[str, set[date]], freezes: pl.DataFrame, registry: Registry
) -> tuple[set[tuple[str, Period]], dict[str, set[date]]]:
    """
    Part the days of facilities into frozen and open ones.

    Args:
        days: local dates by facility.
        freezes: `Guarded.months`.
        registry: the facilities.

    Returns:
        The frozen months in which such days lie, by facility; and the days of the others.
    """
    months: dict[str, list[Period]] = defaultdict(list)
    for name, start, end in freezes.iter_rows():
        months[name].append(Period(start, end))
    final: set[tuple[str, Period]] = set()
    rest = {}
    for name, dates in days.items():
        zone = registry.facilities[name].zone
        firsts = {month.start.astimezone(zone).date(): month for month in months[name]}
        final |= {(name, firsts[day.replace(day=1)]) for day in dates if day.replace(day=1) in firsts}
        rest[name] = {day for day in dates if day.replace(day=1) not in firsts}
    return final, rest


def differences(store: Store, table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """
    Compare rows with what is stored under their keys.

    Returns:
        facility, of, row, figure, old, new, unit: one row a figure that is not the same but for the last bits of a sum.
    """
    key, figures = TABLES[table].key, FIGURES[table]
    stored = TABLES[table].empty()
    if not rows.is_empty():
        first, last = rows.select(first=pl.col("start").min(), last=pl.col("start").max()).row(0)
        stored = store.read(table, Period(first, last + _TICK), facility=rows["facility"].unique().to_list())
    both = _named(table, rows).join(stored.select(*key, *figures), on=key, how="left", suffix="_old")
    parts = [
        both.select(
            "facility",
            "of",
            "row",
            figure=pl.lit(figure),
            old=pl.col(f"{figure}_old").cast(pl.Float64),
            new=pl.col(figure).cast(pl.Float64),
            unit=pl.col("unit") if unit is None else pl.lit(unit),
        )
        for figure, unit in figures.items()
    ]
    old, new = pl.col("old"), pl.col("new")
    alike = ((old - new).abs() <= _NOISE * old.abs()).fill_null(value=False)
    return pl.concat(parts).filter(old.ne_missing(new) & ~alike)


def _named(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Add table, and row: the key as a text."""
    texts = [name for name in TABLES[table].key if name not in ("facility", "start")]
    start = pl.col("start").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    named = pl.concat_str(*(pl.col(name) for name in texts if name != "scope"), start, separator=" ")
    scope = pl.when(pl.col("scope") != "").then(pl.lit(" ") + pl.col("scope")).otherwise(pl.lit(""))
    return rows.with_columns(of=pl.lit(table), row=named + scope if "scope" in texts else named)


def propose(store: Store, rows: Mapping[str, pl.DataFrame], facility: str, month: Period, at: datetime) -> None:
    """
    Note what a frozen month would be now: new differences are pending, those that are gone are withdrawn.

    Args:
        store: where it is stored.
        rows: by table, the rows of the month as `compute.month_anew` returns them.
        facility: whose month it is.
        month: the frozen month.
        at: now.
    """
    found = pl.concat([differences(store, table, own) for table, own in rows.items()])
    _note(store, found, facility, month, at)


def pending(store: Store, facilities: Collection[str], month: Period | None = None) -> pl.DataFrame:
    """Read the corrections that wait for a decision."""
    span = Period(month.start, month.start + _TICK) if month else None
    return store.read(CORRECTIONS.name, span, facility=facilities, state=["pending"])


def apply(
    store: Store, rows: Mapping[str, pl.DataFrame], facility: str, month: Period, *, by: str, why: str, at: datetime
) -> int:
    """
    Store the rows of a frozen month that differ, and keep the figures they had.

    Args:
        store: where it is stored.
        rows: by table, the rows of the month as `compute.month_anew` returns them.
        facility: whose month it is.
        month: the frozen month.
        by: who decided it.
        why: the reason.
        at: now.

    Returns:
        The number of rows changed.
    """
    propose(store, rows, facility, month, at)
    waiting = pending(store, [facility], month)
    # the trace first: no figure of a frozen month changes without it
    decide(store, waiting, "applied", by=by, why=why, at=at)
    changed = 0
    for table, own in rows.items():
        differing = _named(table, own).join(waiting.filter(of=table), on=["facility", "row"], how="semi")
        changed += store.write(table, differing.select(TABLES[table].schema.names()))
    return changed


def decide(store: Store, rows: pl.DataFrame, state: str, *, by: str, why: str, at: datetime) -> None:
    """Give CORRECTIONS rows another state, with a name and a reason."""
    decided = rows.with_columns(state=pl.lit(state), by=pl.lit(by), why=pl.lit(why), at=_at(at))
    store.write(CORRECTIONS.name, decided)


def _note(store: Store, found: pl.DataFrame, facility: str, month: Period, at: datetime) -> None:
    """Bring the pending corrections of a month up to date."""
    known = store.read(CORRECTIONS.name, Period(month.start, month.start + _TICK), facility=[facility])
    last = known.sort("since").group_by(_FIGURE, maintain_order=True).last()
    joined = found.join(last.select(*_FIGURE, "since", "state", had="new", stood="old"), on=_FIGURE, how="left")
    same = pl.col("had").eq_missing(pl.col("new")) & pl.col("stood").eq_missing(pl.col("old"))
    told = pl.col("state").is_in(["pending", "dismissed"]).fill_null(value=False) & same
    fresh = joined.filter(~told).with_columns(
        since=pl.when(pl.col("state") == "pending").then("since").otherwise(_at(at)),
        start=pl.lit(month.start, TIME),
        state=pl.lit("pending"),
        at=_at(at),
        by=pl.lit(""),
        why=pl.lit(""),
    )
    gone = last.filter(state="pending").join(found, on=_FIGURE, how="anti")
    names = CORRECTIONS.schema.names()
    withdrawn = gone.with_columns(state=pl.lit("withdrawn"), at=_at(at))
    store.write(CORRECTIONS.name, pl.concat([fresh.select(names), withdrawn.select(names)]))


def _at(at: datetime) -> pl.Expr:
    return pl.lit(at.astimezone(UTC), TIME)
