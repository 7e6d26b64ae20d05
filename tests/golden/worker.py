"""A process that runs `fastif` commands one after the other: a line of JSON in, a line out."""

import json
import os
import sys
import tempfile
import traceback
from typing import IO, Any


def main() -> None:
    """Answer until the input ends."""
    from tests.golden.names import entry_point

    answers = os.fdopen(os.dup(1), "w")
    run = entry_point()
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request["folder"])
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            for file, number in ((out, 1), (err, 2)):
                os.dup2(file.fileno(), number)
            code = _code(run, request["arguments"])
            sys.stdout.flush()
            sys.stderr.flush()
            answers.write(json.dumps({"code": code, "out": _text(out), "err": _text(err)}) + "\n")
        answers.flush()


def _code(run: Any, arguments: list[str]) -> int:
    sys.argv = ["fastif", *arguments]
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


if __name__ == "__main__":
    main()
