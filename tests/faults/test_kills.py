"""SIGKILL at random moments over a whole audit, from its first import to its last commit."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from audits import assert_whole, log_path, read_log, read_manifests, run_audit, start_audit

KILLS = int(os.environ.get("FASTIF_KILLS", "100"))
PARTS = 4
MOST = 14.0
"""Maximum seconds of an undisturbed audit; it is killed at a random time within them."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_an_audit_killed_at_any_moment_resumes_to_the_same_store(
    part, server, study, expected, figures
):
    draw = random.Random()
    start = time.monotonic()
    run_audit(study, server.environment)
    whole = min(MOST, time.monotonic() - start)
    kills = ended = stores = 0
    moments = []
    while kills < -(-KILLS // PARTS):
        shutil.rmtree(study.parent / "store")
        log_path(study).unlink()
        stores += 1
        # One or two kills a store, then an undisturbed run, so that most kills hit a first run.
        for _ in range(draw.randint(1, 2)):
            process, moment = start_audit(study, server.environment), draw.uniform(0, whole)
            before = read_manifests(study)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode == -signal.SIGKILL:
                kills += 1
                moments.append(round(moment / whole, 3))
            else:  # it finished before the kill
                assert process.returncode == 0, read_log(study)
                ended += 1
            assert before.items() <= read_manifests(study).items(), "a committed file has changed"
        kept = read_manifests(study)
        run_audit(study, server.environment)
        assert "Traceback" not in read_log(study)
        assert kept.items() <= read_manifests(study).items(), "a committed shard was recomputed"
        assert_whole(study, expected)
    figures[f"kills-{part}"] = {"kills": kills, "stores": stores, "ended before": ended}
    assert max(moments) > 0.5, "no audit was killed late"
