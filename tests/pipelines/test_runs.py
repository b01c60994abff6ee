"""Runs of equal keys: a value that is missing is a value of its own."""

import polars as pl

from pipelines import runs


def test_missing_values_make_a_run_of_their_own() -> None:
    frame = pl.DataFrame({"meter": ["a", "a", "a", "b"], "value": [1.0, None, None, None], "n": [1, 2, 3, 4]})
    found = runs.aggregate(frame, ["meter", "value"], columns={"n": pl.sum("n")})
    assert found.rows() == [("a", 1.0, 1), ("a", None, 5), ("b", None, 4)]
    assert runs.aggregate(frame.clear(), ["meter", "value"], columns={"n": pl.sum("n")}).is_empty()
