"""A store in a bucket of an S3 server on the loopback interface."""

import json

import pytest
from store_samples import BUCKET, RUN, SHARDS, STUDY, record, tables

from storage import Store, StoreError

s3fs = pytest.importorskip("s3fs", reason="the extra s3")


@pytest.mark.long
def test_a_bucket_returns_the_same_rows_as_a_folder(remote, store):
    for shard in SHARDS:
        for target in (remote, store):
            target.commit(RUN, shard.key, tables(shard))
    assert remote.find_missing(RUN, SHARDS) == []
    for table in ("scores", "solves", "queries"):
        actual, expected = (target.scan(table, RUN).collect() for target in (remote, store))
        assert actual.equals(expected), table
        assert actual.height
    assert remote.verify(RUN) == []
    assert [status.done for status in remote.list_runs()] == [len(SHARDS)]


def test_a_shard_with_a_lost_or_truncated_file_is_missing(remote):
    for shard in SHARDS[:3]:
        remote.commit(RUN, shard.key, tables(shard))
    lost, short = (
        next((remote.layout.table("scores", RUN) / f"shard={s.key}").iterdir()) for s in SHARDS[:2]
    )
    lost.unlink()
    short.write_bytes(short.read_bytes()[:-1])
    assert remote.find_missing(RUN, SHARDS[:3]) == list(SHARDS[:2])
    assert len(remote.verify(RUN)) == 2


def test_the_second_to_open_a_run_must_match_the_first_record(remote, root):
    again = Store.open(root, STUDY)
    again.open_run(record(created="2030-01-01T00:00:00+00:00"))
    assert again.read_record(RUN).created == record().created
    with pytest.raises(StoreError, match="other settings"):
        again.open_run(record(damping=0.5))
    with pytest.raises(StoreError, match="store of study"):
        Store.open(root, "other")


def test_only_files_listed_in_a_manifest_are_read(remote):
    remote.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))
    height = remote.scan("scores", RUN).collect().height
    (remote.layout.table("scores", RUN) / "shard=00001" / "left.parquet").write_bytes(b"half")
    assert remote.scan("scores", RUN).collect().height == height
    manifest = remote.layout.manifest(RUN, SHARDS[0].key)
    manifest.write_text(json.dumps({"half": 1}))
    with pytest.raises(StoreError, match=r"00000\.json"):
        remote.scan("scores", RUN)


@pytest.mark.parametrize("where", ["gs://bucket/x", "s3://", "s3:///x", "http://x/y"])
def test_unsupported_addresses_are_refused(where):
    with pytest.raises(StoreError, match="s3://bucket/prefix"):
        Store.open(where, STUDY)


@pytest.mark.long
def test_a_missing_or_unresponsive_bucket_is_reported(root, monkeypatch):
    with pytest.raises(StoreError, match=r"s3://no-such-bucket"):
        Store.open("s3://no-such-bucket/x", STUDY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreError, match="Check AWS_ENDPOINT_URL"):
        Store.open(f"s3://{BUCKET}/elsewhere", STUDY)


KIND, DIGEST = "index", "ab" * 32


def fill(text):
    def write(folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "a.bin").write_text(text)
        (folder / "b.bin").write_text(text * 2)

    return write


def elsewhere(monkeypatch, tmp_path, name="another"):
    """Simulate a machine with an empty cache."""
    monkeypatch.setenv("FASTIF_CACHE", str(tmp_path / name))


def test_an_artifact_is_found_from_another_machine(remote, monkeypatch, tmp_path):
    assert remote.find_artifact(KIND, DIGEST) is None
    here = remote.write_artifact(KIND, DIGEST, fill("x"))
    assert remote.find_artifact(KIND, DIGEST) == here
    elsewhere(monkeypatch, tmp_path)
    there = remote.find_artifact(KIND, DIGEST)
    assert there != here
    assert (there / "deep" / "a.bin").read_text() == "x"
    assert list(remote.find_artifacts(KIND)) == [DIGEST]
    assert remote.count_artifact_bytes() > 3


def test_two_machines_that_write_an_artifact_both_get_the_first_one(remote, monkeypatch, tmp_path):
    def slower(folder):
        fill("y")(folder)
        monkeypatch.setenv("FASTIF_CACHE", str(tmp_path / "copies"))
        remote.write_artifact(KIND, DIGEST, fill("x"))
        elsewhere(monkeypatch, tmp_path)

    elsewhere(monkeypatch, tmp_path)
    late = remote.write_artifact(KIND, DIGEST, slower)
    assert (late / "b.bin").read_text() == "xx"


def test_an_artifact_whose_upload_was_interrupted_is_uploaded_on_use(remote, monkeypatch, tmp_path):
    from storage import remote_artifacts

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(remote_artifacts, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            remote.write_artifact(KIND, DIGEST, fill("x"))
    assert remote.find_artifact(KIND, DIGEST) is not None
    elsewhere(monkeypatch, tmp_path)
    assert (remote.find_artifact(KIND, DIGEST) / "b.bin").read_text() == "xx"


@pytest.mark.parametrize("damage", ["lost", "short", "no list"])
def test_an_artifact_damaged_in_the_bucket_is_replaced(remote, monkeypatch, tmp_path, damage):
    remote.write_artifact(KIND, DIGEST, fill("x"))
    artifact = remote.layout.artifact(KIND, DIGEST)
    (hurt,) = (path for path in artifact.rglob("*") if path.name == "b.bin")
    if damage == "lost":
        hurt.unlink()
    elif damage == "short":
        hurt.write_bytes(b"x")
    else:
        (artifact / "part.json").write_text("[]")
    elsewhere(monkeypatch, tmp_path)
    assert remote.find_artifact(KIND, DIGEST) is None
    remote.write_artifact(KIND, DIGEST, fill("y"))
    elsewhere(monkeypatch, tmp_path, "third")
    assert (remote.find_artifact(KIND, DIGEST) / "b.bin").read_text() == "yy"


def test_hidden_states_are_not_uploaded(remote, monkeypatch, tmp_path):
    remote.write_artifact("hidden", DIGEST, fill("x"))
    assert remote.find_artifact("hidden", DIGEST) is not None
    remote.retain_artifacts("hidden", set())
    assert remote.find_artifact("hidden", DIGEST) is None
    assert remote.count_artifact_bytes() == 0


def test_changed_bytes_of_an_artifact_in_the_bucket_are_detected(remote):
    folder = remote.write_artifact("verdicts", "ab" * 32, lambda to: (to / "x").write_bytes(b"abc"))
    assert remote.find_damaged_artifacts() == {}
    assert (folder / "x").read_bytes() == b"abc"
    (path,) = remote.layout.artifact("verdicts", "ab" * 32).rglob("x")
    path.write_bytes(b"abd")
    ((name, problems),) = remote.find_damaged_artifacts().items()
    assert name == ("verdicts", "ab" * 32)
    assert "changed" in problems[0]
    with pytest.raises(StoreError, match="changed"):
        remote.find_verified_artifacts("verdicts")
    remote.remove_artifact("verdicts", "ab" * 32)
    assert remote.find_damaged_artifacts() == {}
