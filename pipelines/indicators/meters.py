"""
Which meters an indicator rests on: rows of facility, scope, meter and sign (1 adds, -1 is deducted).

A meter below another meter of the same set would be counted twice, so only the topmost meters of a set are taken.
"""

import polars as pl

from pipelines.indicators.parts import SUBJECT

_MEMBER = ["facility", "scope", "meter", "sign"]


def boundary(meters: pl.DataFrame) -> pl.DataFrame:
    """
    Return the meters on the facility's boundary: role total without a parent, less exports.

    Own generation is left out: it is not bought, and what of it is used stands behind the boundary already.
    """
    mains = meters.filter(pl.col("role") == "total", pl.col("parent") == "")
    return _members(mains, topmost(meters.filter(pl.col("role") == "export"), meters), scope=pl.lit(""))


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
    parents = meters.select("facility", "meter", above="parent")
    named = own.select("facility", "scope", above="meter")
    climbing = own.select("facility", "scope", "meter", above="parent").filter(pl.col("above") != "")
    below = climbing.clear()
    while not climbing.is_empty():
        below = pl.concat([below, climbing.join(named, on=["facility", "scope", "above"], how="semi")])
        climbing = (
            climbing.rename({"above": "passed"})
            .join(parents, left_on=["facility", "passed"], right_on=["facility", "meter"])
            .filter(pl.col("above") != "")
            .drop("passed")
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
