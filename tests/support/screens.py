"""What a person sees: a screen that understands as much of a terminal's control sequences as rich writes."""

import re

_TOKEN = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07|([\r\n\b])|([^\x1b\r\n\b]+)")


class Screen:
    """The lines that a terminal of some columns shows, those that have scrolled away too.

    Text that reaches the last column goes on in the next line, as on a real terminal.
    """

    def __init__(self, columns: int) -> None:
        self.columns, self._lines, self._row, self._column = columns, [""], 0, 0
        self.styles: set[str] = set()  # that were asked for

    def feed(self, text: str) -> "Screen":
        """Show more of the output; returns itself."""
        for found in _TOKEN.finditer(text):
            _, numbers, command, control, plain = found.groups()
            if plain:
                for letter in plain:
                    self._put(letter)
            elif control:
                self._move(control)
            elif command:
                self._control(command, numbers)
        return self

    @property
    def text(self) -> str:
        """All of it, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._lines).rstrip() + "\n"

    def _put(self, letter: str) -> None:
        if self._column == self.columns:
            self._move("\r"), self._move("\n")
        line = self._lines[self._row].ljust(self._column)
        self._lines[self._row] = line[: self._column] + letter + line[self._column + 1 :]
        self._column += 1

    def _move(self, control: str) -> None:
        if control == "\n":
            self._row += 1
            self._lines += [""] * (self._row + 1 - len(self._lines))
        self._column = 0 if control == "\r" else max(0, self._column - (control == "\b"))

    def _control(self, command: str, numbers: str) -> None:
        if command == "A":
            self._row = max(0, self._row - int(numbers or 1))
        elif command == "K":
            self._lines[self._row] = "" if numbers == "2" else self._lines[self._row][: self._column]
        elif command == "m" and numbers not in ("", "0"):
            self.styles.add(numbers)
