"""The wheel and the source distribution have what the packages need, and install anywhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny

ROOT = Path(__file__).parents[1]
PACKAGES = ("fastif", "flows", "storage", "tasks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def _list_package_files() -> set[str]:
    """Every file of the packages' folders in the checkout, of any suffix."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _build(hook: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-c", BUILD, hook, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """Source distribution of a copy of the checkout, and the wheel built from it, in a folder."""
    folder = tmp_path_factory.mktemp("packaging")
    checkout, unpacked, dist = folder / "checkout", folder / "unpacked", folder / "dist"
    dist.mkdir()
    for name in (*PACKAGES, "tests", "benchmarks", "docs"):
        shutil.copytree(
            ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", ".work")
        )
    for file in ROOT.glob("*.*"):
        if file.is_file():
            shutil.copy(file, checkout)
    shutil.copy(ROOT / "LICENSE", checkout)
    sources = _build("build_sdist", checkout, dist)
    shutil.unpack_archive(sources, unpacked)
    _build("build_wheel", unpacked / sources.name.removesuffix(".tar.gz"), dist)
    return dist


def test_the_wheel_has_every_file_of_the_packages_and_no_other(dist):
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "fastif = flows.cli.app:main" in archive.read(entry_points).decode()
    assert names == _list_package_files()


def test_the_source_distribution_has_no_tests_and_no_benchmarks(dist):
    (sources,) = dist.glob("*.tar.gz")
    with tarfile.open(sources) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert names >= {*_list_package_files(), "LICENSE", "README.md", "pyproject.toml"}
    others = {name.partition("/")[0] for name in names} - {*PACKAGES, "fastif.egg-info"}
    assert {name for name in others if (ROOT / name).is_dir()} == set()


def test_the_version_is_written_once_and_cited():
    assert version("fastif") == PROJECT["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == PROJECT["version"]


def _read_containerfile() -> list[tuple[str, str]]:
    """Instructions of the Containerfile with their arguments, continued lines joined."""
    text = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].strip()) for line in lines]


def test_the_image_is_built_from_files_that_are_there():
    ignored = (ROOT / ".containerignore").read_text("utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = [shlex.split(words) for name, words in _read_containerfile() if name == "COPY"]
    sources = {path for words in copied if not words[0].startswith("--") for path in words[:-1]}
    assert sources == sent
    assert [path for path in sources if not (ROOT / path).exists()] == []
    assert set(PACKAGES) < sources


def test_the_image_runs_modules_that_are_there_and_not_as_root():
    instructions = _read_containerfile()
    assert [name for name, _ in instructions].count("FROM") == 2
    assert ("USER", "fastif") in instructions
    modules = re.findall(r'"-m", "([\w.]+)"', " ".join(words for _, words in instructions))
    assert modules == ["flows.service_health", "flows.foreground_service"]
    assert all(find_spec(module) for module in modules)
    torch = next(line for line in PROJECT["dependencies"] if line.startswith("torch"))
    assert torch in (ROOT / "Containerfile").read_text("utf-8")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_an_installation_from_a_folder_audits_elsewhere(dist, world):
    environment = world.parent / "environment"
    study = tiny.write_study(world)
    settings = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: object, folder: Path = world) -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=folder, env=settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        venv.create(environment, with_pip=True)
        programs = environment / "bin"
        run(programs / "pip", "install", "--quiet", "--find-links", dist, "fastif[cpu]")
        where = run(programs / "python", "-c", "import tasks, fastif; print(fastif.__file__)")
        assert where.startswith(str(environment))
        started = world / "started.toml"
        run(programs / "fastif", "init", started)
        assert "[train]" in started.read_text("utf-8")
        run(programs / "fastif", "audit", study)
        assert "train-" in run(programs / "fastif", "top", "query-0", "--study", study)
        run(programs / "fastif", "report", "--study", study, "--out", world / "page.html")
        assert (world / "page.html").stat().st_size > 10_000
        assert run(programs / "pip", "check")
    finally:
        shutil.rmtree(environment, ignore_errors=True)
