"""What is shipped: the three packages with their data, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ingest", "rules", "pipelines")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_three_packages_and_its_own_description(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


def test_every_file_of_the_packages_is_in_it(names: set[str]) -> None:
    files = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in names if name.split("/")[0] in PACKAGES} == files


def test_the_data_files_are_of_the_kinds_we_ship(names: set[str]) -> None:
    kinds = {Path(name).suffix for name in names if ".dist-info/" not in name}
    assert {".py", ".toml"} <= kinds <= {".py", ".toml", ".txt", ".html", ".j2", ".jinja", ".css", ".typed"}


def test_the_command_is_installed(names: set[str]) -> None:
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
