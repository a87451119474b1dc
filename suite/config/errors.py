"""The error of mistakes that a user can mend."""


class InputError(Exception):
    """Mistakes the user can mend: printed one a line, without a traceback; exit status 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
