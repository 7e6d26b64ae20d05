"""Library exceptions become messages of four parts; bugs in fastif are reported as bugs."""

import errno
import json
import os
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase
from typer.testing import CliRunner

import fastif
from fastif import InputError
from flows.cli import app as cli
from tasks.data import inputs
from tasks.runtime.foreign_errors import (
    TRACEBACK_VARIABLE,
    format_error,
    to_input_error,
    translate_library_errors,
)
from tasks.runtime.shard_error import ShardError
from tasks.study.errors import Problem, StudyError


def catch_error(work) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def fill_disk():
    with Path("/dev/full").open("wb") as file:
        file.write(bytes(10))


RAISED = {
    "torch": (lambda: torch.zeros(2, 3) @ torch.zeros(2, 3), "the study", "RuntimeError"),
    "tokenizers": (lambda: Tokenizer.from_str("{"), "the study", "Exception"),
    "polars": (lambda: pl.DataFrame({"a": [1]}).select("b"), "the study", "ColumnNotFound"),
    "safetensors": (lambda: safe_open(__file__, "pt"), "the study", "SafetensorError"),
    "full disk": (fill_disk, "", "No space left"),
    "no such file": (lambda: Path("/nowhere/x").read_bytes(), "/nowhere/x", "No such file"),
    "no package": (lambda: __import__("nowhere_at_all"), "the study", "nowhere_at_all"),
    "memory": (lambda: torch.empty(2**60), "memory", "allocate"),
}


@pytest.mark.parametrize("case", RAISED.values(), ids=list(RAISED))
def test_exceptions_of_libraries_are_translated_to_four_parts(case):
    work, where, got = case
    error = catch_error(work)
    refusal = to_input_error(error)
    assert refusal is not None
    assert refusal.where == where or not where
    assert got in refusal.got
    assert all((refusal.where, refusal.expected, refusal.got, refusal.remedy))
    with pytest.raises(InputError) as again, translate_library_errors():
        raise error
    assert again.value.__cause__ is error


def test_the_place_is_derived_from_the_module_that_called_the_library():
    class Broken(PreTrainedTokenizerBase):
        def __call__(self, *_, **__):
            return json.loads("{")

    error = catch_error(lambda: fastif.encode(Broken(), ["a"], None, [0], 5))
    assert to_input_error(error).where == "tokenizer of the study"


def test_a_file_without_read_permission_is_named():
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/etc/secret")
    refusal = to_input_error(error)
    assert (refusal.where, refusal.got) == ("/etc/secret", "Permission denied")


def test_exceptions_of_fastif_are_not_translated():
    study_error = StudyError("study.toml", [Problem("a", "b", "c", "d")])
    shard = ShardError("run x, shard 0 (queries 0 to 4): RuntimeError: odd")
    for error in (study_error, shard):
        assert to_input_error(error) is None
        with pytest.raises(type(error)), translate_library_errors():
            raise error
    assert format_error(study_error) == str(study_error)
    assert format_error(shard).startswith(str(shard))
    assert "continues from there" in format_error(shard)


def dry_run(world) -> tuple[int, str]:
    """Exit code and errors of the command."""
    done = CliRunner().invoke(cli.app, ["audit", "--dry-run", str(world / "study.toml")])
    return done.exit_code, done.stderr


@pytest.mark.parametrize("trace", ["", "1"])
def test_the_command_line_prints_a_traceback_only_on_request(world, monkeypatch, trace):
    """The tokenizer file is invalid."""
    (world / "model" / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "New"}}')
    (world / "model" / "vocab.txt").unlink(missing_ok=True)
    monkeypatch.setenv(TRACEBACK_VARIABLE, trace)
    code, output = dry_run(world)
    assert code == 2, output
    assert "Refused. tokenizer" in output
    assert ("Traceback" in output) == bool(trace)
    assert not (world / "store").exists()


def test_a_bug_in_fastif_is_reported_as_one(world, monkeypatch):
    """A function of fastif is patched to raise a KeyError."""

    def broken(*_):
        return {}["oops"]

    broken.__code__ = broken.__code__.replace(co_filename=inputs.__file__)
    monkeypatch.setattr(inputs, "read_table", broken)
    code, output = dry_run(world)
    assert code == 1, output
    output = " ".join(output.split())
    assert "Failed. A bug in fastif, not in your study: KeyError: 'oops'" in output
    assert "tasks/data/inputs.py" in output
    assert "Traceback" not in output


def test_a_flow_can_be_sent_to_a_worker():
    """Prefect pickles the flow with each task."""
    import cloudpickle

    from flows.audit import audit

    assert cloudpickle.loads(cloudpickle.dumps(audit.fn)).__name__ == "audit"
