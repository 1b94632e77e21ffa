"""Runs one step of one cell in a lab and judges it by the wire, the files and the client's exit code."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import steps
from cells import STEPS, Cell
from clients import COMMANDS, DOWNLOADS_ONLY, CannotDo, Job
from lab import Lab
from talk import missing

# Interactive clients that end with 0 whatever happened, or with another code after an interrupt.
EXIT_CODE_SAYS_NOTHING = ("tnftp", "inetutils-ftp")


@dataclass(frozen=True)
class Attempt:
    """How a step went; `hopeless` where the connection or the announcement itself did not come about."""

    fault: str | None
    hopeless: bool = False
    report: str = ""

    @property
    def succeeded(self) -> bool:
        return self.fault is None


def attempt(lab: Lab, originals: Path, cell: Cell, name: str) -> Attempt:
    """Does the step `name`; the report is its transcript."""
    step = STEPS[name]
    job = Job(lab.places.cache, lab.server, lab.topology.dialled[cell.mode.family], cell.mode)
    command = COMMANDS[cell.client](name, job)
    if isinstance(command, CannotDo):
        return Attempt(command.reason)
    work, output = lab.dir / "work", lab.dir / "output"
    steps.clear(work)
    steps.prepare(name, originals, lab.pub, work)
    marks = lab.tap.mark(), lab.server_tap.mark()
    lengths = lab.records()
    status = run(lab, command, work, output, step.timeout)

    def judge() -> tuple[bool, str] | None:
        on_wire = missing(lab.tap.since(marks[0]), cell.mode.verb, step.verb)
        if on_wire:
            return on_wire
        in_files = steps.fault(name, originals, lab.pub, work, output, cell.client not in DOWNLOADS_ONLY)
        if in_files:
            said = output.read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "nothing")
            return False, f"{in_files}; the client ends with: {last[:80]}"
        if status != 0 and cell.client not in EXIT_CODE_SAYS_NOTHING and name != "ABOR":
            return False, f"the client ends with {status}"
        return None

    # The last packets may still be on their way to the tap.
    time.sleep(0.005)
    fault = judge()
    if fault:
        time.sleep(0.2)
        fault = judge()
    hopeless, words = fault or (False, None)
    report = "\n".join(
        [
            f"{cell} {name}: {words or 'ok'}",
            f"$ {command}",
            f"exit code {status}",
            output.read_text(errors="replace"),
            "--- at the client",
            *("\n".join(lines) for lines in lab.tap.since(marks[0])),
            "--- at the server",
            *("\n".join(lines) for lines in lab.server_tap.since(marks[1])),
            lab.records_since(lengths),
        ]
    )
    steps.clear(work)
    return Attempt(words, hopeless, report)


def run(lab: Lab, command: str, work: Path, output: Path, timeout: int) -> int | str:
    """Runs a shell command on the client; gives its exit code, or in words that it took too long."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "LFTP_HOME": str(work),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with output.open("wb") as file:
        client = subprocess.Popen(
            lab.on("client", "sh", "-c", command),
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            return client.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"no end within {timeout} s"
        finally:
            # Whatever a step leaves running must not talk into the next one.
            try:
                os.killpg(client.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            client.wait()
