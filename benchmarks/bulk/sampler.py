"""Sampling profiler of the command line, a hundred samples a second.

`python benchmarks/bulk/sampler.py OUT.json audit study.toml` writes seconds by kind of work. It
imports only the standard library and the first package on the path, so that it can also profile an
older version of the project.
"""

import json
import resource
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY = 0.01
KINDS = (
    ("fastif/numerics/blocked_dot.py", (), "products of gradients"),
    ("fastif/gradients/per_example.py", ("times", "add_to"), "products of gradients"),
    ("fastif/gradients/per_example.py", (), "gradients"),
    ("fastif/gradients/hooks.py", (), "gradients"),
    ("fastif/gradients/layer_rules.py", (), "gradients"),
    ("fastif/models/prefix_cache.py", (), "frozen layers"),
    ("fastif/training/fit.py", (), "predictions"),
    ("fastif/candidates/faiss_index.py", (), "search"),
    ("fastif/candidates/sketch_index.py", (), "search"),
    ("fastif/candidates/retrieval.py", (), "search"),
    ("fastif/candidates/", (), "sketches, but for gradients"),
    ("fastif/solvers/", (), "small system"),
    ("fastif/data/tokenized_text.py", (), "model and tokens"),
    ("fastif/models/pretrained.py", (), "model and tokens"),
    ("fastif/", (), "other mathematics"),
    ("storage/", (), "store"),
    ("tasks/", (), "tables, plan, summary"),
)
IMPORTS, REST = "imports", "Prefect, and waiting"


def kind_of(frame: FrameType | None) -> str | None:
    """Return the kind of work of the innermost frame with a kind."""
    while frame is not None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if "importlib" in path:
            return IMPORTS
        for part, names, kind in KINDS:
            if f"/{part}" in path and "site-packages" not in path and name in (names or (name,)):
                return kind
        frame = frame.f_back
    return None


def watch(counts: Counter[str], stop: threading.Event, main: int) -> None:
    """Count samples by kind until the event is set; busy threads count before the main one."""
    me = threading.get_ident()
    while not stop.wait(EVERY):
        frames = sys._current_frames()
        others = [kind_of(f) for thread, f in frames.items() if thread not in (me, main)]
        kinds = [kind for kind in others if kind not in (None, IMPORTS)]
        counts[(kinds or [kind_of(frames.get(main)) or REST])[0] or REST] += 1


def run(out: Path, arguments: list[str]) -> None:
    """Profile one command."""
    counts: Counter[str] = Counter()
    stop, begun = threading.Event(), time.monotonic()
    watcher = threading.Thread(target=watch, args=(counts, stop, threading.get_ident()))
    watcher.start()
    sys.argv = ["fastif", *arguments]
    try:
        from flows.cli.app import main

        main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        stop.set()
        watcher.join()
    wall, looks = time.monotonic() - begun, sum(counts.values())
    used = resource.getrusage(resource.RUSAGE_SELF)
    profile = {
        "wall": wall,
        "processor": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "looks": looks,
        "seconds": {kind: wall * count / looks for kind, count in counts.items()},
    }
    out.write_text(json.dumps(profile, indent=1), "utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
