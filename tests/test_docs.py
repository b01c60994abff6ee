"""The generated pages say what the code says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ingest.schema import TABLES
from rules import catalogue

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_current(generate: ModuleType) -> None:
    for name, content in generate.pages().items():
        assert (ROOT / "docs" / name).read_text("utf-8") == content, f"docs/{name} is old: run `make docs`"


def test_every_column_of_every_table_is_described(generate: ModuleType) -> None:
    sections = dict(part.split("\n", 1) for part in generate.tables().split("\n## ")[1:])
    assert sections.keys() == TABLES.keys()
    for name, table in TABLES.items():
        rows = [line.split(" | ")[0] for line in sections[name].splitlines() if line.startswith("| `")]
        assert rows == [f"| `{column.name}`" for column in table.columns]


def test_every_rule_and_every_limit_is_described(generate: ModuleType) -> None:
    loaded = catalogue.load()
    page = generate.rules(loaded)
    headings = {line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")}
    rows = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert headings == loaded.rules.keys()
    assert rows == loaded.limits.keys()


def test_every_row_of_a_page_has_the_cells_of_its_header(generate: ModuleType) -> None:
    for content in generate.pages().values():
        for block in content.split("\n\n"):
            widths = {line.replace("\\|", "").count("|") for line in block.splitlines() if line.startswith("|")}
            assert len(widths) <= 1, block


def test_every_page_of_operations_is_in_its_index() -> None:
    folder = ROOT / "docs" / "operations"
    linked = set(re.findall(r"\]\((\w+\.md)\)", (folder / "README.md").read_text("utf-8")))
    assert linked == {page.name for page in folder.glob("*.md")} - {"README.md"}


def test_check_tells_an_old_page(tmp_path: Path) -> None:
    copy = tmp_path / "generate.py"
    copy.write_bytes(SCRIPT.read_bytes())

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, copy, *arguments], capture_output=True, text=True, check=False)

    missing = run("--check")
    assert (missing.returncode, missing.stderr) == (
        1,
        "docs: tables.md, rules.md, factors.md not current; run `make docs`\n",
    )
    assert run().returncode == 0
    assert run("--check").returncode == 0
    (tmp_path / "tables.md").write_text("old", "utf-8")
    old = run("--check")
    assert (old.returncode, old.stderr) == (1, "docs: tables.md not current; run `make docs`\n")
    assert (tmp_path / "tables.md").read_text("utf-8") == "old"
