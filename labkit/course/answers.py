"""answers: use in one chapter what was written in another.

Every chapter. The reader's own function where its check has passed, the
reference where not, and a line that says which of the two is in use.
"""

import linecache
from collections.abc import Callable
from typing import Any

from labkit.course import gradebook, luggage, pages, sources
from labkit.course.inside import OFFERED
from labkit.errors import Invalid, NotFound


def use(answer: "Callable[..., Any] | str", exercise: str | None = None) -> Callable[..., Any]:
    """A function for an exercise of an earlier chapter: `use("03.pivot")`, or `use(mine, "03.pivot")`.

    `mine` is taken as it is unless it is still a stub; then, as with the id
    alone, the answer that passed its check, or else the reference.
    """
    if isinstance(answer, str):
        answer, exercise = None, answer  # type: ignore[assignment]
    if exercise is None:
        raise Invalid('say for which exercise: use(my_function, "03.pivot")')
    if callable(answer) and "raise NotImplementedError" not in luggage.source(answer):
        pages.card(f"{exercise}: {answer.__name__}() of this notebook is in use")
        return answer
    try:
        text, name = gradebook.answer(exercise)
        whose = "your own"
    except NotFound:
        text, name = sources.reference(exercise)
        whose = "the reference"
    pages.card(f"{exercise}: {whose} {name}() is in use")
    return _define(text, name, exercise)


def _define(text: str, name: str, exercise: str) -> Callable[..., Any]:
    """Run the text of an answer in a namespace of its own; its source stays readable for a child."""
    file = f"<answer {exercise}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": f"answer_{exercise.replace('.', '_')}"}
    for offered, (module, attribute) in OFFERED.items():
        if offered in text:
            loaded = __import__(module, fromlist=["_"])
            names[offered] = getattr(loaded, attribute) if attribute else loaded
    exec(compile(text, file, "exec"), names)
    function = names.get(name)
    if not callable(function):
        raise NotFound(f"the answer to {exercise} defines no function {name}()")
    return function  # type: ignore[no-any-return]
