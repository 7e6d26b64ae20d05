"""Mutants of what a run has chosen, and of who gets to know it."""

from tests.mutants.mutant import Mutant

_CHOICES = "tests/tasks/run/test_choices.py"
_KEPT = "tests/tasks/run/test_selections.py"
_OPENED = (
    "tests/tasks/run/test_context.py::test_an_open_run_gets_the_damping_selected_by_another_process"
)

CHOICES = (
    Mutant(
        "an open run that keeps the choices it was loaded with",
        "tasks/planning/open_run.py",
        "    latest = resolve_choices(context)\n",
        "    latest = context\n",
        (_OPENED,),
    ),
    Mutant(
        "a context that never looks for its store again",
        "tasks/run/choices.py",
        "store = find_existing_store(context.study)",
        "store = context.existing_store",
        (_CHOICES,),
    ),
    Mutant(
        "each model with the damping of the first",
        "tasks/run/choices.py",
        "for member in context.members)\n    latest",
        "for member in (context, *([context] * len(context.others))))\n    latest",
        (_CHOICES,),
    ),
    Mutant(
        "a k that was chosen with another damping",
        "tasks/run/artifact_keys.py",
        "dampings = [member.known_damping for member in context.members]",
        "dampings = []",
        (_CHOICES,),
    ),
    Mutant(
        "a search that outlives the choice it was made with",
        "tasks/run/context.py",
        "return dampings, tuple(self.excluded_members), k",
        "return k",
        (_CHOICES,),
    ),
    Mutant(
        "hidden states that outlive the settings they were computed with",
        "tasks/run/members.py",
        "memo=Memo(), ",
        "",
        (_CHOICES,),
    ),
    Mutant(
        "a choice that is kept under the file of another kind",
        "tasks/run/selections.py",
        '(folder / f"{self.name}.json").write_text(text, "utf-8")',
        '(folder / f"{self.key}.json").write_text(text, "utf-8")',
        (_KEPT,),
    ),
)
