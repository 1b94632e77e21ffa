"""Runs the matrix inside the namespaces that `run` has made; see there for how to call it.

Each topology and server is a lab of its own; several run at a time, the cells of one in sequence. A step that
fails is tried in the plain lab: what works plainly but not through portcullis is a failure, what does not work
plainly either is not available, with the reason found there.
"""

import argparse
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import report
import steps
from attempt import Attempt, attempt
from cells import CLIENTS, CORE, MODES, PLAIN, SERVERS, STEPS, TOPOLOGIES, Cell, all_cells
from lab import Lab, Places

# Labs at one time: most of a cell's time is waiting.
PARALLEL = 4


@dataclass(frozen=True)
class Outcome:
    """What came of one step of one cell: `ok`, `n/a` or `FAIL`."""

    state: str
    reason: str = ""


class Plain:
    """The plain labs, one a server, made when first needed, and what was found in them."""

    def __init__(self, places: Places, originals: Path):
        self._places, self._originals = places, originals
        self._lock = threading.Lock()
        self._server_locks = {server: threading.Lock() for server in SERVERS}
        self._labs: dict[str, Lab] = {}
        self._found: dict = {}

    def known(self, cell: Cell, step: str) -> Attempt | None:
        """What was found earlier."""
        with self._lock:
            return self._found.get((cell.client, cell.server, cell.mode, step))

    def attempt(self, cell: Cell, step: str) -> Attempt:
        """Does a step plainly, unless that was done."""
        with self._server_locks[cell.server]:
            if found := self.known(cell, step):
                return found
            if cell.server not in self._labs:
                lab = Lab(PLAIN.name, cell.server, self._places)
                steps.prepare_server(self._originals, lab.pub)
                self._labs[cell.server] = lab
            found = attempt(self._labs[cell.server], self._originals, cell, step)
            with self._lock:
                self._found[cell.client, cell.server, cell.mode, step] = found
            return found

    def close(self) -> None:
        for lab in self._labs.values():
            lab.close()


class Run:
    """One run of some cells."""

    def __init__(self, cells: list[Cell], steps_of, places: Places, reports: Path, verbose: bool):
        self.cells, self.steps_of, self.places, self.verbose = cells, steps_of, places, verbose
        self.reports = reports
        self.originals = places.scratch / "originals"
        self.outcomes: dict[tuple[Cell, str], Outcome] = {}
        self.faults: list[str] = []
        self._lock = threading.Lock()
        steps.make_originals(self.originals)
        self.plain = Plain(places, self.originals)

    def all(self) -> None:
        """Runs every cell."""
        units: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            units.setdefault((cell.topology, cell.server), []).append(cell)
        with ThreadPoolExecutor(PARALLEL) as pool:
            for unit in [pool.submit(self._unit, *key, cells) for key, cells in units.items()]:
                unit.result()
        self.plain.close()

    def _unit(self, topology: str, server: str, cells: list[Cell]) -> None:
        started = time.monotonic()
        lab = Lab(topology, server, self.places)
        try:
            steps.prepare_server(self.originals, lab.pub)
            for cell in cells:
                self._cell(lab, cell)
        finally:
            lab.close()
        with self._lock:
            self.faults += lab.faults
            states = [self.outcomes[cell, step].state for cell in cells for step in self.steps_of(cell)]
            counts = ", ".join(f"{states.count(state)} {state}" for state in ("ok", "n/a", "FAIL"))
            print(f"{topology} {server}: {counts}; {time.monotonic() - started:.0f} s", file=sys.stderr)

    def _cell(self, lab: Lab, cell: Cell) -> None:
        settled = None
        for number, step in enumerate(self.steps_of(cell)):
            started = time.monotonic()
            outcome, hopeless = settled or self._step(lab, cell, step)
            # In later steps it may be a sign of something else.
            if hopeless and number == 0:
                settled = outcome, True
            with self._lock:
                self.outcomes[cell, step] = outcome
                if outcome.state == "FAIL":
                    print(f"FAIL {cell} {step}: {outcome.reason}", file=sys.stderr)
                elif self.verbose:
                    took = f"{time.monotonic() - started:.1f} s"
                    print(f"{outcome.state:4} {cell} {step} {took} {outcome.reason}", file=sys.stderr)

    def _step(self, lab: Lab, cell: Cell, step: str) -> tuple[Outcome, bool]:
        """The outcome, and whether the other steps of the cell would come out the same."""
        plain = self.plain.known(cell, step)
        if plain and not plain.succeeded:
            return Outcome("n/a", plain.fault), plain.hopeless
        through = attempt(lab, self.originals, cell, step)
        if through.succeeded:
            if self.verbose:
                self._write(f"ok-{cell}-{step}", through.report)
            return Outcome("ok"), False
        plain = self.plain.attempt(cell, step)
        if not plain.succeeded:
            if self.verbose and plain.report:
                self._write(f"plain-{cell}-{step}", plain.report)
            return Outcome("n/a", plain.fault), plain.hopeless
        self._write(f"{cell}-{step}", through.report)
        return Outcome("FAIL", through.fault), False

    def _write(self, name: str, text: str) -> None:
        self.reports.mkdir(parents=True, exist_ok=True)
        (self.reports / f"{name.replace(' ', '-')}.txt").write_text(text)


def options() -> argparse.Namespace:
    """The command line; every option narrows the matrix."""
    parser = argparse.ArgumentParser(prog="tests/interop/run")
    parser.add_argument("--core", action="store_true", help="the cells that `cargo test` runs")
    parser.add_argument("--client", action="append", choices=CLIENTS)
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument("--mode", action="append", type=str.upper, choices=sorted({mode.verb for mode in MODES}))
    parser.add_argument("--family", action="append", choices=("v4", "v6"))
    parser.add_argument("--topology", action="append", choices=(*TOPOLOGIES, PLAIN.name))
    parser.add_argument("--step", action="append", type=str.upper, choices=STEPS)
    parser.add_argument("--verbose", action="store_true", help="tell every step, and keep the transcript of each")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> list[Cell]:
    """The cells that the options leave."""

    def wanted(cell: Cell) -> bool:
        pairs = (
            (arguments.client, cell.client),
            (arguments.server, cell.server),
            (arguments.mode, cell.mode.verb),
            (arguments.family, cell.mode.family),
            (arguments.topology, cell.topology),
        )
        return all(names is None or name in names for names, name in pairs)

    topologies = arguments.topology or list(TOPOLOGIES)
    return [cell for cell in (CORE if arguments.core else all_cells(topologies)) if wanted(cell)]


def main() -> int:
    arguments = options()
    places = Places(
        scratch=Path(os.environ["INTEROP_SCRATCH"]),
        cache=Path(os.environ["INTEROP_CACHE"]),
        portcullis=Path(os.environ["INTEROP_PORTCULLIS"]),
        shim=os.environ.get("INTEROP_SHIM", ""),
    )
    cells = chosen(arguments)
    if not cells:
        print("no such cell: PORT and PASV exist on IPv4 only", file=sys.stderr)
        return 2
    started = time.monotonic()
    run = Run(
        cells,
        lambda _cell: arguments.step or STEPS,
        places,
        Path(os.environ["INTEROP_REPORTS"]),
        arguments.verbose or len(cells) == 1,
    )
    run.all()
    for fault in run.faults:
        print(f"FAULT {fault}", file=sys.stderr)
    states = [outcome.state for outcome in run.outcomes.values()]
    took = time.monotonic() - started
    print(
        f"{len(cells)} cells, {len(states)} steps in {took:.0f} s: {states.count('ok')} ok,"
        f" {states.count('n/a')} not available, {states.count('FAIL')} failed"
    )
    failed = "FAIL" in states or bool(run.faults)
    if failed:
        print(f"transcripts and records are in {run.reports}")
    if arguments.write:
        arguments.write.write_text(report.text(run.outcomes, places, took))
    return int(failed)


sys.exit(main())
