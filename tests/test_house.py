"""The house rules that no linter knows: imports, clock, sizes, and nothing of the machine it was written on."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest import registry, settings

ROOT = Path(__file__).parents[1]
MODULES = sorted(file for package in ("ingest", "rules", "pipelines") for file in (ROOT / package).rglob("*.py"))

LONGEST_FILE = 350
LONGEST_FUNCTION = 50


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def texts() -> Iterator[tuple[str, str]]:
    """Every text file of the repository, new ones too."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for line in filter(None, listed.stdout.split("\0")):
        file = ROOT / line
        if file.is_file() and b"\0" not in (content := file.read_bytes()):
            yield line, content.decode()


def test_imports_point_one_way() -> None:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stdout + report.stderr


def test_nothing_of_the_machine_and_no_registry_address() -> None:
    # each with a class of one letter, or this file would find itself
    machine = r"(?<![\w.~])/(?:wor[k]|roo[t]|hom[e]|User[s])/\w"
    hosts = r"pyp[i]\.org|pythonhoste[d]\.org|deb\.debia[n]\.org|index-ur[l]|find-link[s]"
    found = [
        f"{file}:{number}: {line.strip()[:80]}"
        for file, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(f"{machine}|{hosts}", line)
    ]
    assert found == []


def test_no_package_below_tests() -> None:
    # tests/ingest/__init__.py would take the place of the real package
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_only_the_command_line_reads_the_clock() -> None:
    readers = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}
    found = [
        f"{name(file)}:{node.lineno}"
        for file in MODULES
        if name(file) != "pipelines/cli.py"
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in readers
    ]
    assert found == []


@pytest.mark.parametrize("own", ["", "dirty_decay_ms:500"])
def test_memory_is_kept_for_five_seconds_unless_the_environment_says_more(own: str) -> None:
    """Polars reads it once, so it has to stand there before anything of ours loads Polars."""
    told = "import os, pipelines.cli; print(os.environ['_RJEM_MALLOC_CONF'])"
    others = {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}
    environment = others | ({"_RJEM_MALLOC_CONF": own} if own else {})
    said = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip().split(",")[-1] == (own or "dirty_decay_ms:5000")


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    long = {
        node.name: length
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := lines_without_docstring(node)) > LONGEST_FUNCTION
    }
    assert long == {}


def lines_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_shell_scripts_are_strict_and_can_be_run() -> None:
    scripts = [ROOT / file for file, text in texts() if text.startswith("#!/usr/bin/env bash")]
    assert {ROOT / ".ci" / "run", ROOT / "deploy" / "servers.sh"} <= set(scripts)
    for script in scripts:
        assert "\nset -euo pipefail\n" in script.read_text("utf-8"), name(script)
        assert script.stat().st_mode & 0o111, f"{name(script)} is not executable"
        subprocess.run(["bash", "-n", script], check=True)


def test_make_explains_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    explained = set(re.findall(r"^([a-z]+):.*## \w", makefile, re.MULTILINE))
    assert targets - explained == {"env"}
    assert explained <= targets


def test_no_secret_is_kept_in_the_repository() -> None:
    kept = [file for file, _ in texts() if file.endswith((".pem", ".key", ".crt")) or file.startswith("secrets/")]
    assert [file for file in kept if not file.startswith("tests/")] == []


def test_the_sample_settings_and_the_sample_registry_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in settings.Settings.model_fields:
        monkeypatch.delenv(f"PEAKWATCH_{key.upper()}", raising=False)
    loaded = settings.load(ROOT / "deploy" / "peakwatch.toml")
    assert loaded.broker == "mqtts://mosquitto:8883"
    assert registry.load(ROOT / "deploy" / "registry").facilities


def test_every_locked_package_has_a_hash_and_every_install_asks_for_it() -> None:
    lock = (ROOT / "constraints.txt").read_text("utf-8")
    packages = re.findall(r"^[a-z0-9][\w.-]*==.*\n(?:^    .*\n?)*", lock, re.MULTILINE)
    assert len(packages) > 50
    assert [one.splitlines()[0] for one in packages if "--hash=sha256:" not in one] == []
    for file in ("Makefile", "deploy/docker/Dockerfile"):
        installs = re.findall(r"pip install .*", (ROOT / file).read_text("utf-8"))
        # uv checks every hash of its constraints; pip only where it is told to require them
        loose = [
            line for line in installs if not re.search("--require-hashes|--constraints constraints.txt|--no-deps", line)
        ]
        assert (file, installs != [], loose) == (file, True, [])
