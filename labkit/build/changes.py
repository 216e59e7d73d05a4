"""changes: a config changed by single instructions, as --change of commit and import takes them.

Chapter 8. docker-commit(1), docker-import(1).
"""

from collections.abc import Sequence

from labkit.build import configuration, dockerfile
from labkit.build.scope import Scope
from labkit.errors import Invalid
from labkit.images.configs import RunConfig

ALLOWED = tuple("CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split())


def apply(run: RunConfig, texts: Sequence[str]) -> RunConfig:
    """The config after those instructions, in order."""
    scope = Scope(given={})
    for number, text in enumerate(texts, 1):
        instruction = dockerfile.parse_line(text, "--change", number)
        if instruction.keyword not in ALLOWED:
            raise Invalid(
                f"{instruction.keyword} is not a valid change command",
                hint=f"these are: {', '.join(ALLOWED)}",
            )
        run = configuration.apply(run, instruction, scope, has_command=True).run
    return run
