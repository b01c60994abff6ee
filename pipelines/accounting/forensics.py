"""
Counter forensics: what a register (底码) did between two readings, and what that is worth.

    series -> plain advances                                      (nearly every meter: one pass)
           -> the odd meters again: glitches set aside -> exchanges put in -> each step named, with its evidence

The rules and their formulas stand in docs/methods/energy.md. Conservation holds for any sequence of values:
quantity + unattributed = last - first + 10^digits a rollover + the value before a reset + removed - installed.
"""

from datetime import timedelta

import polars as pl

from pipelines import runs

KINDS = pl.Enum(
    [
        "advance",
        "catch_up",
        "rollover",
        "exchange",
        "reset",
        "glitch",
        "step_back",
        "jump",
        "exchange_likely",
        "ambiguous",
        "overlap",
    ]
)

# a step may be this many periods long before its time counts as not covered: one late or lost reading is everyday life
LONGEST = 2

# a reading may come early by this share of the period and still be judged at a glance
SHORTEST = 0.9

# a register that shows less than this share of its last value began anew; one that shows more stepped back a little
ANEW = 0.9

# where no rated power is known, only a value this small is called a reset; larger ones are likely another meter
SMALL = 0.1

# where no rated power is known, a value that is off by this many times the advance of its neighbours is a glitch
OFF = 10

# a value that was held for longer is no glitch; so what a value is shows in a few readings around it
HELD = timedelta(hours=6)

# no value is judged a glitch by one further away
REACH = timedelta(days=64)

_ELAPSED = pl.col("end") - pl.col("start")
_LONGEST, _SHORTEST = LONGEST * pl.col("period"), SHORTEST * pl.col("period")
_TURN = pl.col("modulus") * pl.col("scale")
_IS_PAIR = (pl.col("row") == pl.col("row_before")) & (pl.col("start") < pl.col("end"))
_PLAIN = pl.when("covered").then(pl.lit("advance", KINDS)).otherwise(pl.lit("catch_up", KINDS))
_HOUR = timedelta(hours=1)
_EVIDENCE = {name: pl.lit(None, pl.Float64()) for name in ("unattributed", "before", "after", "bound")}
_COLUMNS = ["row", "start", "end", "quantity", "covered", "kind", *_EVIDENCE]


def register_steps(
    series: pl.DataFrame, meters: pl.DataFrame, exchanges: pl.DataFrame, reaches: pl.Expr
) -> pl.DataFrame:
    """
    Turn the values of registers into steps.

    Args:
        series: row (of the meter in `meters`), time, value [shown unit], by row and time; no time twice.
        meters: facility, meter, row (their position), period, modulus, scale (shown to canonical unit) and rated
            (canonical units an hour at most; null where unknown).
        exchanges: `Registry.exchanges`. [shown unit]
        reaches: which steps are wanted. What they are shows in the values before and after them.

    Returns:
        row, start, end, quantity [canonical unit; null where nothing is attributed], covered, kind (one of KINDS),
        unattributed [canonical unit], before, after [shown unit], bound [canonical unit]; the last four are null for
        a plain advance. Rows of one meter stand together, by time.
    """
    facts = meters.select_seq(
        *("scale", "rated", "modulus"),
        turn=_TURN,
        longest=_LONGEST,
        shortest=_SHORTEST,
        plausible=_ALWAYS_PLAUSIBLE,
    )
    judged, odd = _judged(series, facts)
    if odd.is_empty() and exchanges.is_empty():
        return _advances(runs.where(judged, pl.col("pair"), reaches))
    own = exchanges.join(meters[["facility", "meter", "row"]], on=["facility", "meter"])
    apart = pl.col("row").is_in(pl.concat([odd, own["row"]]).unique().implode())
    kept, glitches = _without_glitches(_with_exchanges(series.filter(apart), own), facts)
    explained = pl.concat([_explained(_pairs(kept, facts)).select(_COLUMNS), glitches.select(_COLUMNS)])
    explained = explained.filter(reaches).sort("row", "end", "start", maintain_order=True)
    return runs.by_row([_advances(runs.where(judged, pl.col("pair"), reaches, ~apart)), explained])


def _advances(plain: pl.DataFrame) -> pl.DataFrame:
    return plain.with_columns_seq(kind=_PLAIN, **_EVIDENCE)[_COLUMNS]


def _judged(series: pl.DataFrame, facts: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """
    Take each value and the one before it for an advance: row, start, end, quantity, covered, pair; and the odd meters.

    Whether they are a pair stands beside, for to leave the others out takes as long as all the rest.
    """
    beside = _beside(series)
    known = beside.hstack(facts[["scale", "shortest", "longest", "plausible"]][beside["row"]])
    advances = known.with_columns_seq(
        quantity=(pl.col("after") - pl.col("before")) * pl.col("scale"), elapsed=_ELAPSED, pair=_IS_PAIR
    )
    judged = advances.select_seq(
        *("row", "start", "end", "quantity", "pair"), covered=pl.col("elapsed") <= pl.col("longest")
    )
    unclear = judged.filter(advances.select_seq(pl.col("pair") & ~_AT_A_GLANCE).to_series())
    return judged, runs.where(unclear.hstack(facts[unclear["row"]]), ~_IS_PLAIN)["row"]


def _beside(series: pl.DataFrame) -> pl.DataFrame:
    """Put each value beside the one before it: row, row_before, start, end, before, after, and so for an exchange."""
    former, latter = series[:-1], series[1:]
    both = [former["row"].alias("row_before")]
    both += [former[name].alias(alias) for name, alias in (("time", "start"), ("value", "before"))]
    both += [latter[name].alias(alias) for name, alias in (("time", "end"), ("value", "after"))]
    if "exchange" in series.columns:
        both.append(former["exchange"] | latter["exchange"])
    return latter[["row"]].hstack(both)


def _pairs(series: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Neighbouring values of one meter, with what is known of it; two values at one moment are no pair."""
    found = _beside(series).filter(_IS_PAIR).drop("row_before")
    return found.hstack(facts[found["row"]])


def _with_exchanges(series: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """
    Add what the registry says of exchanges: two values at one moment, the last of the old meter, the first of the new.

    The step up to the exchange and the step after it then are plain differences. A reading taken at that very moment
    says nothing more and is left out; an exchange before the first or after the last reading belongs to no step.
    """
    reach = series.join(own, on="row", how="semi").group_by("row").agg(first=pl.min("time"), last=pl.max("time"))
    own = own.join(reach, on="row").filter(pl.col("at").is_between("first", "last")).rename({"at": "time"})
    return pl.concat(
        [
            series.join(own, on=["row", "time"], how="anti").with_columns(exchange=False),
            own.select("row", "time", value="removed_value", exchange=True),
            own.select("row", "time", value="installed_value", exchange=True),
        ]
    ).sort("row", "time", maintain_order=True)


def _without_glitches(series: pl.DataFrame, facts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """
    Part a series into the values on the line, and a row of evidence for each value that is off.

    A value that was read several times in a row counts once: a gateway that sends zeros for an hour is one glitch. Of
    values that would each be off beside the next one, every second is, the first to begin with.
    """
    key = ["row", "value", "exchange"]
    _, run = runs.of(series, key)
    held = runs.aggregate(series, key, columns={"first": pl.col("time").first(), "last": pl.col("time").last()})
    held = held.hstack(facts[held["row"]]).with_row_index("run")
    held = held.with_columns(
        _from(name, by).alias(f"{side}_{name}")
        for side, by, names in (("previous", 1, ("value", "last")), ("next", -1, ("value", "first")))
        for name in names
    ).with_columns(off=_is_off())
    turn = pl.int_range(pl.len()).over(pl.struct("row", "off").rle_id())
    off = held.filter(pl.col("off") & (turn % 2 == 0))
    evidence = off.select(
        "row",
        start="previous_last",
        end="first",
        quantity=pl.lit(None, pl.Float64()),
        covered=False,
        kind=pl.lit("glitch", KINDS),
        unattributed=pl.lit(0.0),
        before="previous_value",
        after="value",
        bound=_bound(pl.col("next_first") - pl.col("previous_last")),
    )
    return series.filter(~run.is_in(off["run"].implode())), evidence


def _from(name: str, by: int) -> pl.Expr:
    return pl.col(name).shift(by).over("row")


def _is_off() -> pl.Expr:
    """
    Whether a value is a glitch: without it its neighbours are on a line, with it one of its two steps is not.

    Where no rated power bounds the steps, far off the line counts as well.
    """
    value, previous, following = pl.col("value"), pl.col("previous_value"), pl.col("next_value")
    there, back = pl.col("first") - pl.col("previous_last"), pl.col("next_first") - pl.col("last")
    whole = pl.col("next_first") - pl.col("previous_last")
    line = _advance(previous, following)
    far = pl.min_horizontal((value - previous).abs(), (value - following).abs()) * pl.col("scale") > OFF * line
    explained = _explains(previous, value, there) & _explains(value, following, back)
    outside = (value < previous) | (value > following)
    near = (there <= REACH) & (back <= REACH) & (pl.col("last") - pl.col("first") <= HELD)
    return (
        ~pl.col("exchange")
        & near
        & outside
        & _is_plausible(previous, following, whole)
        & (~explained | (pl.col("rated").is_null() & far))
    ).fill_null(value=False)


def _explained(pairs: pl.DataFrame) -> pl.DataFrame:
    """Name each register step and say what it is worth: the one place where a step is believed or not."""
    before, after = pl.col("before"), pl.col("after")
    back = after < before
    advance = _advance(before, after)
    turned = _turned_twice(_bound() - advance)
    anew = ~pl.col("exchange") & _is_reset(before, after, _ELAPSED)
    unrated = ~pl.col("exchange") & pl.col("rated").is_null() & back & after.is_between(0, SMALL * before)
    kind = (
        pl.when(turned)
        .then(pl.lit("ambiguous"))
        .when(_is_plausible(before, after, _ELAPSED))
        .then(
            pl.when("exchange")
            .then(pl.lit("exchange"))
            .when(back)
            .then(pl.lit("rollover"))
            .when("covered")
            .then(pl.lit("advance"))
            .otherwise(pl.lit("catch_up"))
        )
        .when(anew | unrated)
        .then(pl.lit("reset"))
        .when(~back)
        .then(pl.lit("jump"))
        .when(after >= ANEW * before)
        .then(pl.lit("step_back"))
        .otherwise(pl.lit("exchange_likely"))
    )
    named = pairs.with_columns(covered=pl.col("longest") >= _ELAPSED, bound=_bound())
    named = named.with_columns(kind=kind.cast(KINDS))
    believed = pl.col("kind").is_in(["advance", "catch_up", "rollover", "exchange"])
    began = (pl.col("kind") == "reset") & pl.col("rated").is_not_null()
    quantity = pl.when(believed).then(advance).when(began).then(after * pl.col("scale"))
    shown = (
        pl.when(pl.col("kind") == "ambiguous")
        .then(advance)
        .when(pl.col("kind") == "reset")
        .then(after * pl.col("scale"))
        .otherwise((after - before) * pl.col("scale"))
    )
    return named.with_columns(
        quantity=quantity,
        unattributed=pl.when(quantity.is_null()).then(shown).otherwise(0.0),
        # what passed between the last value and a reset is not known: the step holds a part only
        covered=pl.col("covered") & ~began,
    )


def _advance(before: pl.Expr, after: pl.Expr) -> pl.Expr:
    """Advance of the register, round the end of its digits where it went back; null where that is not known."""
    difference = after - before
    return pl.when(difference >= 0).then(difference).otherwise(difference + pl.col("modulus")) * pl.col("scale")


def _bound(elapsed: pl.Expr = _ELAPSED) -> pl.Expr:
    """Most that can have passed, and one shown unit more: a register may only show whole units. Null: not known."""
    return pl.col("rated") * (elapsed / _HOUR) + pl.col("scale")


def _is_plausible(before: pl.Expr, after: pl.Expr, elapsed: pl.Expr) -> pl.Expr:
    half = pl.when(after < before).then(pl.col("turn") / 2).otherwise(float("inf"))
    return (_advance(before, after) <= pl.coalesce(_bound(elapsed), half)).fill_null(value=False)


def _is_reset(before: pl.Expr, after: pl.Expr, elapsed: pl.Expr) -> pl.Expr:
    """Whether a register began anew, and what it counted since is plausible; never told without a rated power."""
    small = (after >= 0) & (after < ANEW * before)
    return (small & (after * pl.col("scale") <= _bound(elapsed))).fill_null(value=False)


def _explains(before: pl.Expr, after: pl.Expr, elapsed: pl.Expr) -> pl.Expr:
    return _is_plausible(before, after, elapsed) | _is_reset(before, after, elapsed)


def _turned_twice(room: pl.Expr) -> pl.Expr:
    """Whether one turn more of the digits would be plausible too: then nobody knows how many there were."""
    return (room >= pl.col("turn")).fill_null(value=False)


# what passes for an advance without a closer look: how much more is plausible is not less than nothing, nor a turn
_ROOM = _bound() - pl.col("quantity")
_IS_PLAIN = (pl.col("quantity") >= 0) & ((_ROOM >= 0) & (pl.col("turn") > _ROOM)).fill_null(value=True)

# what a meter can always have counted in a step of about its period, and so at a glance passes for an advance
_ALWAYS_PLAUSIBLE = (
    pl.when(pl.col("rated").is_null())
    .then(float("inf"))
    .when((_bound(_LONGEST) < _TURN).fill_null(value=True))
    .then(_bound(_SHORTEST))
    .otherwise(-1.0)
)
_AT_A_GLANCE = (
    pl.col("quantity").is_between(0, pl.col("plausible"))
    & (pl.col("elapsed") >= pl.col("shortest"))
    & (pl.col("elapsed") <= pl.col("longest"))
)
