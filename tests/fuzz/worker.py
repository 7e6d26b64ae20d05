"""A process that runs `fastif` commands one after the other: a line of JSON in, a line out.

Starting a new process costs seconds (imports, Prefect's client); the commands themselves are
those of the command line, from its entry point on.
"""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request["folder"])
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            for file, number in ((out, 1), (err, 2)):
                os.dup2(file.fileno(), number)
            code = _run(request["arguments"])
            sys.stdout.flush()
            sys.stderr.flush()
            answers.write(json.dumps({"code": code, "out": _text(out), "err": _text(err)}) + "\n")
        answers.flush()


def _run(arguments: list[str]) -> int:
    from flows.cli.app import app

    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except BaseException:
        traceback.print_exc()
        return 1


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
