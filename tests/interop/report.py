"""Writes RESULTS.md: versions, a table for each topology, and why something is not available."""

import gzip
import json
import platform
import subprocess
from collections.abc import Iterable

from cells import CLIENTS, MODES, SERVERS, STEPS, TOPOLOGIES, Cell
from lab import Places

# The packages of clients and servers in the cache, by the name they have in the table.
PACKAGES = {
    "curl": "curl",
    "lftp": "lftp",
    "tnftp": "tnftp",
    "inetutils-ftp": "inetutils-ftp",
    "ncftp": "ncftp",
    "wget": "wget",
    "vsftpd": "vsftpd",
    "pure-ftpd": "pure-ftpd",
    "proftpd": "proftpd-core",
    "inetutils-ftpd": "inetutils-ftpd",
}


def text(outcomes: dict, places: Places, took: float) -> str:
    """The whole page."""
    states = [outcome.state for outcome in outcomes.values()]
    cells = {cell for cell, _ in outcomes}
    parts = [
        "# Interoperability",
        "",
        "Written by `tests/interop/run`; not to be edited.",
        "",
        f"{len(cells)} combinations, {len(states)} steps: **{states.count('ok')} work through portcullis,"
        f" {states.count('FAIL')} fail**; {states.count('n/a')} do not work without portcullis either.",
        f"The run took {took / 60:.0f} minutes.",
        "",
        *how_to_read(),
        *failures(outcomes),
    ]
    for topology in TOPOLOGIES.values():
        parts += ["", f"## {topology.name}", "", f"{topology.words[0].upper()}{topology.words[1:]}.", ""]
        parts += table(outcomes, topology.name)
    parts += [*reasons(outcomes), *versions(places)]
    return "\n".join(parts) + "\n"


def how_to_read() -> list[str]:
    """What the steps are, and what the marks mean."""
    lines = [
        "A combination is a client, a server, a way of announcing data connections (checked on the wire), an address",
        "family and a topology. In each, the client does these steps, every step in a session of its own:",
        "",
        *(f"- **{step.name}**: {step.words}" for step in STEPS.values()),
        "",
        "`✓` all steps work; `✓ 8` eight do, and the rest does not work on a plain route either (same hosts, no",
        "portcullis, no firewall), for the reasons given below; `–` none can be done there; `FAIL` works on a plain",
        "route but not through portcullis. Files are compared byte for byte.",
    ]
    demanding = [server for server in SERVERS.values() if server.protocol]
    if demanding:
        lines += ["", "Every policy allows every command, and is the default otherwise, except that"]
        lines += [f"- {server.name} needs `protocol: {{ {server.protocol} }}`." for server in demanding]
    return lines


def failures(outcomes: dict) -> list[str]:
    """What fails, one line each."""
    failed = [(cell, step, outcome) for (cell, step), outcome in outcomes.items() if outcome.state == "FAIL"]
    if not failed:
        return []
    grouped: dict[tuple[str, str, str], list[Cell]] = {}
    for cell, step, outcome in failed:
        grouped.setdefault((cell.client, step, outcome.reason), []).append(cell)
    lines = ["", "## Failures", "", "| client | step | what happens | servers | modes | topologies |", "|---|---|---|---|---|---|"]
    for (client, step, reason), cells in sorted(grouped.items()):
        lines.append(f"| {client} | {step} | {reason} | {' | '.join(spans(cells))} | {several((c.topology for c in cells), TOPOLOGIES)} |")
    return lines


def table(outcomes: dict, topology: str) -> list[str]:
    """Clients and modes down, servers across."""
    lines = [f"| client | mode | {' | '.join(SERVERS)} |", f"|---|---|{'---|' * len(SERVERS)}"]
    for client in CLIENTS:
        for number, mode in enumerate(MODES):
            found = [
                [outcomes.get((Cell(client, server, mode, topology), step)) for step in STEPS] for server in SERVERS
            ]
            if any(any(row) for row in found):
                shown = client if number == 0 else ""
                lines.append(f"| {shown} | {mode} | {' | '.join(mark(row) for row in found)} |")
    return lines


def mark(row: list) -> str:
    """One field of the table."""
    states = {step: outcome.state for step, outcome in zip(STEPS, row) if outcome}
    failed = [step for step, state in states.items() if state == "FAIL"]
    fine = sum(state == "ok" for state in states.values())
    if not states:
        return ""
    shown = "✓" if fine == len(states) else f"✓ {fine}" if fine else "" if failed else "–"
    return f"{shown} **FAIL** {' '.join(failed)}".strip() if failed else shown


def reasons(outcomes: dict) -> list[str]:
    """What does not work on a plain route either, gathered."""
    grouped: dict[tuple[str, str], dict] = {}
    for (cell, step), outcome in outcomes.items():
        if outcome.state == "n/a":
            grouped.setdefault((cell.client, outcome.reason), {}).setdefault(cell, []).append(step)
    lines = [
        "",
        "## Not available",
        "",
        "What the client or the server itself cannot do, as found on the plain route.",
        "",
        "| client | reason | steps | servers | modes |",
        "|---|---|---|---|---|",
    ]
    for (client, reason), cells in sorted(grouped.items(), key=lambda item: (CLIENTS.index(item[0][0]), item[0][1])):
        steps = several((step for names in cells.values() for step in names), STEPS)
        lines.append(f"| {client} | {reason.replace('|', '¦')} | {steps} | {' | '.join(spans(cells))} |")
    return lines


def spans(cells: Iterable[Cell]) -> tuple[str, str]:
    """The servers and the modes of some cells."""
    cells = list(cells)
    return (
        several((cell.server for cell in cells), SERVERS),
        several((str(cell.mode) for cell in cells), [str(mode) for mode in MODES]),
    )


def several(names: Iterable[str], of: Iterable[str]) -> str:
    """A list of names in their usual order, or `all`."""
    names, of = set(names), list(of)
    return "all" if names == set(of) else ", ".join(name for name in of if name in names)


def versions(places: Places) -> list[str]:
    """What all of it ran with."""
    found = {name: packaged(places, package) for name, package in PACKAGES.items()}
    found["ftplib"] = f"Python {said('/usr/bin/python3', '-c', 'import platform; print(platform.python_version())')}"
    package = places.cache / "basic-ftp-6.2.3" / "node_modules" / "basic-ftp" / "package.json"
    found["basic-ftp"] = f"{json.loads(package.read_text())['version']}, Node {said('node', '--version')}"
    found["pyftpdlib"] = places.cache.joinpath(SERVERS["pyftpdlib"].cached).name.rpartition("-")[2]
    lines = ["", "## Versions", "", "| program | version |", "|---|---|"]
    lines += [f"| portcullis | {said(places.portcullis, '--version').removeprefix('portcullis ')} |"]
    lines += [f"| {name} | {found[name]} |" for name in (*CLIENTS, *SERVERS)]
    lines += [f"| Linux | {platform.release()} |", f"| nft | {said('nft', '--version')} |"]
    how = "as an ordinary user, servers with fake-ids.c" if places.shim else "as root"
    return [*lines, f"| run | {how} |"]


def packaged(places: Places, package: str) -> str:
    """The version of an unpacked Debian package, as its list of changes says."""
    for name in (package, package.removesuffix("-core")):
        for path in sorted((places.cache / package / "usr" / "share" / "doc").glob(f"{name}/changelog.Debian*")):
            opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
            with opened as changes:
                return f"Debian {changes.readline().split('(')[1].split(')')[0]}"
    return "unknown"


def said(*command: object) -> str:
    """The first line that a program writes."""
    output = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False).stdout
    return output.split("\n")[0].strip()
