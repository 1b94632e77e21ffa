"""Drives `portcullis top` in a pseudo-terminal: what it shows, its keys, and the terminal after it.

Called with the program and its configuration while one session of a hostile user fetches /slow.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 30
ROWS, COLUMNS = 40, 200
HOSTILE = [b"eve\x1b[2J", b"\x1b]0;owned"]

SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[=>78]|(.)", re.DOTALL)


class Screen:
    """As much of a terminal as is needed to read what it shows: places, clearing, text."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.cells = [[" "] * COLUMNS for _ in range(ROWS)]
        self.row = self.column = 0

    def take(self, text):
        for sequence in SEQUENCE.finditer(text):
            numbers, final, character = sequence.groups()
            if final == "H":
                row, column = (numbers.split(";") if numbers else ("1", "1"))
                self.row, self.column = int(row) - 1, int(column) - 1
            elif final == "J":
                self.clear()
            elif character:
                self.cells[self.row][self.column] = character
                self.column += 1

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)


def main():
    program, config = sys.argv[1:]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    before = termios.tcgetattr(theirs)
    top = subprocess.Popen(
        [program, "top", "--config", config],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )
    everything = bytearray()

    def read_until(what, seen):
        """Reads until it is there."""
        until = time.monotonic() + PATIENCE
        while not seen():
            if time.monotonic() > until:
                sys.exit(f"waited in vain for {what}; written: {bytes(everything)!r}")
            if select.select([ours], [], [], 0.1)[0]:
                everything.extend(os.read(ours, 65536))

    def read_until_shown(*words):
        def shown():
            screen = Screen()
            # A character may be written in two pieces.
            screen.take(everything.split(b"\x1b[?1049h")[-1].decode(errors="ignore"))
            return all(word in screen.text() for word in words)
        read_until(words, shown)

    try:
        read_until("the screen", lambda: b"\x1b[?1049h" in everything)
        read_until_shown("1 sessions", "1 transfers running", "CLIENT", "RETR /slow", "transfer", "order: active")
        # Written out, and cut where the column ends.
        read_until_shown("eve\\u{1b}")
        if termios.tcgetattr(theirs)[3] & termios.ICANON:
            sys.exit("the terminal is not raw")
        os.write(ours, b"o")
        read_until_shown("order: bytes")
        os.write(ours, b"p")
        read_until_shown("TARGET", "passive", "used", "RETR /slow")
        os.write(ours, b"q")
        read_until("the end of the screen", lambda: b"\x1b[?1049l" in everything)
        if top.wait(PATIENCE) != 0:
            sys.exit(f"it ended with {top.returncode}")
    finally:
        if top.poll() is None:
            top.kill()
    if termios.tcgetattr(theirs) != before:
        sys.exit("the terminal is not as it was")
    for hostile in HOSTILE:
        if hostile in everything:
            sys.exit(f"{hostile!r} reached the terminal")


main()
