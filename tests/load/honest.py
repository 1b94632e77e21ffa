"""Moves files by Python's ftplib until standard input ends: honest.py ORIGINAL FROM4 FROM6 TO4 TO6 KEPT PORT...

The server has ORIGINAL as well, and what is uploaded becomes KEPT there. Says a line for each session that begins, each
transfer whose content is right and each session that has come to its end: `begin`, `transfer`, `session`, `failed WHY`.
"""

import ftplib
import io
import itertools
import select
import sys
import time
from pathlib import Path

original_file, from4, from6, to4, to6, kept, *ports = sys.argv[1:]
original = Path(original_file).read_bytes()


# Seconds between two sessions: fewer than the gate lets begin.
PAUSE = 0.15


def over() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def say(line: str) -> None:
    print(line, flush=True)


def session(own: str, to: str, port: int, passive: bool) -> None:
    client = ftplib.FTP(timeout=20)
    client.connect(to, port, source_address=(own, 0))
    client.login()
    client.set_pasv(passive)
    for size in (7, 5000, len(original)):
        got = bytearray()
        client.retrbinary("RETR original", got.extend)
        if got != original:
            raise ValueError("a download differs")
        say("transfer")
        client.storbinary(f"STOR {Path(kept).name}", io.BytesIO(original[:size]))
        if Path(kept).read_bytes() != original[:size]:
            raise ValueError("an upload differs")
        say("transfer")
        client.voidcmd("NOOP")
    if not any(found.endswith("original") for found in client.nlst()):
        raise ValueError("a listing lacks a file")
    say("transfer")
    client.quit()
    say("session")


ways = [(own, to, int(port)) for own, to in ((from4, to4), (from6, to6)) for port in ports]
for (own, to, port), passive in itertools.cycle(itertools.product(ways, (True, False))):
    if over():
        break
    time.sleep(PAUSE)
    say("begin")
    try:
        session(own, to, port, passive)
    except (OSError, EOFError, ValueError, ftplib.Error) as error:
        say(f"failed [{to}]:{port} passive {passive}: {error!r}")
