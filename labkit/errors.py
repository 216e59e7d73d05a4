"""errors: what went wrong, in the caller's words.

LabkitError
├── NotFound      nothing by that name            → 404, exit 1
├── Conflict      not possible in this state      → 409, exit 1
├── Invalid       the request makes no sense      → 400, exit 2
├── Unsupported   this host cannot do it          → 501, exit 1
└── StartFailed   the container did not start     → 400, exit 125, 126 or 127

The kernel package raises plain OSError, so `except PermissionError` works.
Messages are lower-case, without a full stop, and hold the name and the state.
"""


class LabkitError(Exception):
    """Base of every error that labkit raises on purpose."""

    http_status = 500
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")


class NotFound(LabkitError):
    """Nothing by that name."""

    http_status = 404


class Conflict(LabkitError):
    """Not possible in this state."""

    http_status = 409


class Invalid(LabkitError):
    """The request makes no sense."""

    http_status = 400
    exit_code = 2


class Unsupported(LabkitError):
    """This host cannot do it."""

    http_status = 501


class StartFailed(LabkitError):
    """The container did not start.

    `exit_code` follows docker-run(1): 127 where the command was not found,
    126 where it could not be executed, 125 where labkit itself failed.
    """

    http_status = 400

    def __init__(self, message: str, *, exit_code: int = 125, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
