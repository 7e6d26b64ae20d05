"""Torch module of one's own in `fastif init`: its function and its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastif import InputError
from tasks.onboarding.study_text import Line, Part, relate_path
from tasks.study.errors import format_value


@dataclass(frozen=True)
class OwnModule:
    """Function of an installed package that makes a module from a folder.

    Attributes:
        function: Name of the function, `package.module:function`.
        folder: Folder that it gets.
    """

    function: str
    folder: Path

    @property
    def attributed(self) -> Line:
        """Line of the attributed parameters: all of them."""
        comment = "or regular expressions on the names of the module's parameters"
        return Line("attributed", "all", comment)

    def make_part(self, path: Path) -> Part:
        """Return the section `[model]` of the study file."""
        folder = relate_path(self.folder, path.parent)
        comment = "function of an installed package: returns module, loss and collate function"
        lines = [
            Line("factory", self.function, comment),
            Line("path", folder, "folder of the weights, the argument of the function"),
        ]
        return Part("model", "the trained classifier", lines)


def split_folder(words: Sequence[str], function: str) -> tuple[OwnModule, list[str]]:
    """Take the folder of the weights from the arguments of `fastif init`; return the others.

    Raises:
        InputError: None of them is a folder.
    """
    folders = [word for word in words if Path(word).is_dir()]
    if not folders:
        raise InputError(
            "arguments",
            "the folder of the weights, a training table and a table of queries",
            f"no folder among {', '.join(map(format_value, words)) or 'nothing'}",
            f"Name it first: fastif init FOLDER TRAIN QUERIES --factory {function}",
        )
    own = OwnModule(function, Path(folders[0]))
    return own, [word for word in words if word != folders[0]]
