"""Runs of equal keys: a value that is missing is a value of its own."""

import polars as pl

from pipelines import runs


def test_missing_values_make_a_run_of_their_own() -> None:
    frame = pl.DataFrame({"meter": ["a", "a", "a", "b"], "value": [1.0, None, None, None], "n": [1, 2, 3, 4]})
    found = runs.aggregate(frame, ["meter", "value"], columns={"n": pl.sum("n")})
    assert found.rows() == [("a", 1.0, 1), ("a", None, 5), ("b", None, 4)]
    assert runs.aggregate(frame.clear(), ["meter", "value"], columns={"n": pl.sum("n")}).is_empty()


def test_rows_are_found_again_by_name_and_time_in_any_order() -> None:
    frame = pl.DataFrame({"meter": ["a", "a", "b", "a"], "start": [1, 2, 1, 3]})
    other = pl.DataFrame({"meter": ["c", "b", "a", "a"], "start": [1, 1, 3, 1]})
    assert runs.beside(frame, other, ["meter"], "start").to_list() == [3, None, 1, 2]
    assert runs.beside(frame, other.clear(), ["meter"], "start").to_list() == [None] * 4
    assert runs.beside(frame.clear(), other, ["meter"], "start").to_list() == []
