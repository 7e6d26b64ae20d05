"""What must be set before torch, transformers or prefect is imported; one tiny study for all."""

import gc
import os
from pathlib import Path

import pytest

gc.disable()  # nothing of the imports is garbage: three seconds of each worker
os.environ["OMP_NUM_THREADS"] = "1"  # on few cores, threads of torch and FAISS only fight
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """The tiny study; copied, never changed."""
    import tiny

    folder = tmp_path_factory.mktemp("tiny") / "made"
    tiny.make(folder)
    return folder


@pytest.fixture
def world(made, tmp_path) -> Path:
    """A copy of the tiny study's folder."""
    import tiny

    return tiny.copy(made, tmp_path / "world")


@pytest.fixture(scope="session")
def finished(made, tmp_path_factory) -> Path:
    """The folder of the tiny study after its audit, computed without Prefect; only read it."""
    import tiny

    folder = tiny.copy(made, tmp_path_factory.mktemp("finished") / "made")
    tiny.run_directly(folder / "study.toml")
    return folder


@pytest.fixture
def audit(finished, tmp_path) -> Path:
    """A copy of the audited study's folder."""
    import tiny

    return tiny.copy(finished, tmp_path / "world")


@pytest.fixture(scope="session")
def audit_and_search(finished, tmp_path_factory) -> Path:
    """The audited study's folder after a search for wrong labels; copied, never changed."""
    import tiny

    from tasks.mislabels.detect import detect_mislabels

    folder = tiny.copy(finished, tmp_path_factory.mktemp("searched") / "world")
    detect_mislabels.fn(str(folder / "study.toml"))
    return folder


@pytest.fixture
def searched(audit_and_search, tmp_path) -> Path:
    """A copy of the folder that was audited and searched."""
    import tiny

    return tiny.copy(audit_and_search, tmp_path / "world")


@pytest.fixture(scope="session")
def sketched(made, tmp_path_factory) -> Path:
    """The folder of the tiny study after an audit by sketches without rescoring; only read it."""
    import tiny

    folder = tiny.copy(made, tmp_path_factory.mktemp("sketched") / "made")
    tiny.run_directly(tiny.write_study(folder, candidates=tiny.SKETCH | {"rescore": False}))
    return folder


@pytest.fixture(scope="session")
def engine(sketched):
    """The audited study by sketches, opened for lookups."""
    from tasks.service.open_engine import open_engine

    return open_engine(sketched / "study.toml")


@pytest.fixture
def clean_environment():
    """The command line sets variables for Prefect; another test must not inherit them."""
    before = dict(os.environ)
    yield
    # Only what has changed: other threads may read the environment while it is written.
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({k: v for k, v in before.items() if os.environ.get(k) != v})


@pytest.hookimpl(tryfirst=True)  # before the cases that -m leaves out are taken out
def pytest_collection_modifyitems(config, items):
    from default_cases import mark_other_cases_long

    mark_other_cases_long(items, selected=any("[" in arg for arg in config.args))


def pytest_collection_finish():
    gc.collect()
    gc.freeze()
    gc.enable()
