"""
Which meters an indicator rests on: rows of facility, scope, meter and sign (1 adds, -1 is deducted).

A meter below another meter of the same set would be counted twice, so only the topmost meters of a set are taken. In a
set, a virtual meter stands in the place of the meters it adds and of all below them; where one of them stands below
another meter of the set, the virtual meter is left out. What it subtracts is not deducted again.
"""

import polars as pl

from pipelines.indicators.parts import SUBJECT

_MEMBER = ["facility", "scope", "meter", "sign"]


def boundary(meters: pl.DataFrame) -> pl.DataFrame:
    """
    Return the meters on the facility's boundary: role total without a parent and renewable generation, less exports.

    Other own generation (from waste heat, a boiler, an engine) is left out: what it is made of is counted already.
    Renewable generation enters the site at its meter, for nothing else counts it.
    """
    key = ["facility", "meter"]
    mains = topmost(meters.filter(pl.col("role") == "total", pl.col("parent") == ""), meters)
    renewable = topmost(meters.filter("renewable"), meters)
    exports = topmost(meters.filter(pl.col("role") == "export"), meters)
    sums = mains.filter("virtual").select("facility", above="meter")
    added = renewable.explode("above").join(sums, on=["facility", "above"], how="semi")
    subtracted = mains.select("facility", meter="subtracted").explode("meter")
    entering = pl.concat([mains, renewable.join(added, on=key, how="anti")])
    return _members(entering, exports.join(subtracted, on=key, how="anti"), scope=pl.lit(""))


def of_role(meters: pl.DataFrame, role: str) -> pl.DataFrame:
    """Return the topmost meters of a role."""
    own = meters.filter(pl.col("role") == role)
    return _members(topmost(own, meters), own.clear(), scope=pl.lit(""))


def of_scope(meters: pl.DataFrame) -> pl.DataFrame:
    """Return, for every product or area, the topmost meters that serve it alone, less exports."""
    serving = meters.filter(pl.col("scope") != "", pl.col("role") != "generation")
    exports = pl.col("role") == "export"
    return _members(topmost(serving.filter(~exports), meters), serving.filter(exports), scope=pl.col("scope"))


def topmost(own: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Leave out the meters that stand below another meter of `own` with the same scope, however far below."""
    steps = meters.select("facility", "meter", "above").explode("above").drop_nulls("above")
    named = own.select("facility", "scope", above="meter")
    climbing = own.select("facility", "scope", "meter").join(steps, on=["facility", "meter"])
    below = passed = climbing.clear()
    while not climbing.is_empty():
        below = pl.concat([below, climbing.join(named, on=["facility", "scope", "above"], how="semi")])
        passed = pl.concat([passed, climbing])
        climbing = (
            climbing.join(steps, left_on=["facility", "above"], right_on=["facility", "meter"], suffix="_next")
            .select("facility", "scope", "meter", above="above_next")
            .unique()
            .join(passed, on=["facility", "scope", "meter", "above"], how="anti")
        )
    return own.join(below, on=["facility", "scope", "meter"], how="anti")


def evidence(members: pl.DataFrame) -> pl.DataFrame:
    """Name the meters of each facility and scope in one text, as in `E-main, E-second - E-export`: meters."""
    added = pl.col("meter").filter(pl.col("sign") > 0).str.join(", ")
    deducted = (pl.lit(" - ") + pl.col("meter").filter(pl.col("sign") < 0)).str.join("")
    return members.sort("meter").group_by(SUBJECT).agg(meters=added + deducted)


def over(subjects: pl.DataFrame, above: pl.DataFrame, below: pl.DataFrame) -> pl.DataFrame:
    """Name the meters of a ratio, as in `E-main / E-it1, E-it2`: facility, scope, meters."""
    named = subjects.select(SUBJECT)
    for side in (above, below):
        named = named.join(evidence(side), on=SUBJECT, how="left", suffix="_below")
    return named.select(
        *SUBJECT, meters=pl.col("meters").fill_null("none") + " / " + pl.col("meters_below").fill_null("none")
    )


def _members(added: pl.DataFrame, deducted: pl.DataFrame, *, scope: pl.Expr) -> pl.DataFrame:
    return pl.concat(
        [
            added.with_columns(scope=scope, sign=1).select(_MEMBER),
            deducted.with_columns(scope=scope, sign=-1).select(_MEMBER),
        ]
    )
