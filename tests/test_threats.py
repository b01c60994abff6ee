"""Every test that docs/security names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security" / "README.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_is_named_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_threat_says_what_stands_against_it_and_where_it_is_shown() -> None:
    rows = [
        line.strip("| ").split(" | ")
        for line in PAGE.split("## Threats")[1].split("## ")[0].splitlines()
        if "|" in line
    ]
    assert len(rows) > 25
    assert all(len(row) == 3 and all(row) for row in rows)
    assert len(NAMED) > 30
