"""One lab of the matrix: a topology's hosts with a server on one of them and portcullis on the edges.

Owns the network namespaces, the processes in them and their end; which client runs when is not its business.
"""

import itertools
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cells import PLAIN, SERVERS, TOPOLOGIES
from tap import Tap

HERE = Path(__file__).resolve().parent
TOPOLOGY_SCRIPT = HERE.parent / "lab" / "topology"
PATIENCE_S = 20.0
COUNT = itertools.count(1)

TRANSPARENT = """  - name: lan
    transparent: {{ interfaces: [lan0], ports: [21], bind-port: 2121 }}
    server-sees: {sees}
    rules: policy.yaml
"""
PUBLISHED = """  - name: published
    published:
      listen: ["{v4}:21", "[{v6}]:21"]
      server: ["10.70.0.2:21", "[fd70::2]:21"]
    server-sees: client
    rules: policy.yaml
"""


@dataclass(frozen=True)
class Places:
    """Where things lie on this machine."""

    scratch: Path
    cache: Path
    portcullis: Path
    shim: str


class LabError(Exception):
    """The lab itself does not work; says nothing about portcullis, clients or servers."""


def wait_until(what: str, ask) -> None:
    """Asks every few milliseconds until the answer is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not ask():
        if time.monotonic() > deadline:
            raise LabError(f"waited {PATIENCE_S:.0f} s in vain: {what}")
        time.sleep(0.01)


def listeners(topology: str, host: str) -> str:
    """The configuration of the gate on one edge."""
    if topology == "two-edges":
        topology = "behind-nat" if host == "edge" else "second-edge"
    match topology:
        case "behind-nat":
            return TRANSPARENT.format(sees="edge")
        case "routed":
            return TRANSPARENT.format(sees="client")
        case "published":
            return PUBLISHED.format(**TOPOLOGIES["published"].dialled)
        case "second-edge":
            return PUBLISHED.format(**TOPOLOGIES["two-edges"].dialled)
    raise LabError(f"no listener is known for the topology {topology}")


class Lab:
    """Hosts, server and gates of one topology and server; everything ends with `close`."""

    def __init__(self, topology: str, server: str, places: Places):
        self.topology = PLAIN if topology == PLAIN.name else TOPOLOGIES[topology]
        self.server = SERVERS[server]
        self.places = places
        self.dir = places.scratch / f"{topology}-{server}-{next(COUNT)}"
        self.root = self.dir / "server"
        self.pub = self.root / "pub"
        self.faults: list[str] = []
        self._started: list[subprocess.Popen] = []
        self._gates: dict[str, subprocess.Popen] = {}
        self._taps: list[Tap] = []
        self.pub.mkdir(parents=True)
        # Whom the server becomes has to reach its files.
        for path in (self.dir, self.root, self.pub):
            path.chmod(0o755)
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _set_up(self) -> None:
        self.hosts = {name: self._make_host() for name in self.topology.hosts}
        pids = [str(self.hosts[name]) for name in self.topology.hosts]
        made = subprocess.run(
            [TOPOLOGY_SCRIPT, self.topology.name, *pids], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise LabError(f"tests/lab/topology {self.topology.name}: {made.stderr}")
        self.tap = Tap(self.hosts["client"])
        self.server_tap = Tap(self.hosts["server"])
        self._taps = [self.tap, self.server_tap]
        self._start_server()
        if self.topology is not PLAIN:
            for name in self.topology.hosts[1:-1]:
                self._start_gate(name)

    def _make_host(self) -> int:
        """A network namespace, by the pid of the process that keeps it."""
        # The keeper ends with the pipe to its input, however this program ends.
        keeper = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._started.append(keeper)
        if keeper.stdout.readline() != b"\n":
            raise LabError("unshare -n made no network namespace")
        return keeper.pid

    def on(self, host: str, *command: object) -> list[str]:
        """The command line that runs a command on a host."""
        return ["nsenter", f"--net=/proc/{self.hosts[host]}/ns/net", *map(str, command)]

    def _start_server(self) -> None:
        log = (self.dir / "server.log").open("wb")
        command = [HERE / "server", self.server.name, self.places.cache / self.server.cached, self.root, "21"]
        process = subprocess.Popen(
            self.on("server", *command, *filter(None, [self.places.shim])),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._started.append(process)
        probe = self.on("server", "bash", "-c", "</dev/tcp/127.0.0.1/21")
        try:
            wait_until(
                f"{self.server.name} to listen",
                lambda: subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0,
            )
        except LabError as error:
            raise LabError(f"{error}\n{(self.dir / 'server.log').read_text(errors='replace')}") from None

    def _start_gate(self, host: str) -> None:
        place = self.dir / host
        place.mkdir()
        (place / "policy.yaml").write_text(
            f"protocol: {{ {self.server.protocol} }}\nrules: [ {{ id: all, allow: true }} ]\n"
        )
        (place / "portcullis.yaml").write_text(
            f"listeners:\n{listeners(self.topology.name, host)}audit: {{ output: {place}/eve.json }}\n"
        )
        said = place / "stderr"
        with said.open("wb") as stderr:
            gate = subprocess.Popen(
                self.on(host, self.places.portcullis, "run", "--config", place / "portcullis.yaml"),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        self._started.append(gate)
        self._gates[host] = gate

        def is_ready() -> bool:
            if gate.poll() is not None:
                raise LabError(f"portcullis ended on {host}: {said.read_text(errors='replace')}")
            return "ready" in said.read_text(errors="replace")

        wait_until(f"portcullis to be ready on {host}", is_ready)

    def records(self) -> dict[str, int]:
        """How long the record of each gate is."""
        return {host: (self.dir / host / "eve.json").stat().st_size for host in self._gates}

    def records_since(self, lengths: dict[str, int]) -> str:
        """What each gate has recorded since, for a failure's report."""
        text = ""
        for host, length in lengths.items():
            with (self.dir / host / "eve.json").open("rb") as record:
                record.seek(length)
                text += f"--- record of portcullis on {host}\n{record.read().decode('utf-8', 'replace')}"
        return text

    def close(self) -> None:
        """Ends everything; a gate that does not end well is a fault."""
        for tap in self._taps:
            tap.close()
        for host, gate in self._gates.items():
            gate.send_signal(signal.SIGTERM)
            try:
                status = gate.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                status = "none within 20 s"
            said = (self.dir / host / "stderr").read_text(errors="replace")
            if status != 0 or "panicked" in said:
                self.faults.append(f"{self.topology.name} {self.server.name}: portcullis on {host} ended with {status}:\n{said}")
        self._end_daemon()
        for process in reversed(self._started):
            process.kill()
            process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _end_daemon(self) -> None:
        """Ends a server that has left its parent, by the pid it wrote down."""
        try:
            os.kill(int((self.root / "pid").read_text()), signal.SIGTERM)
        except (OSError, ValueError):
            pass
