"""What the matrix is made of, as data: servers, modes, topologies, steps, and which cells are its core."""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Server:
    """An FTP server; `cached` is its directory in the cache, `protocol` what a policy in front of it has to say."""

    name: str
    cached: str
    user: str = "lab"
    password: str = "lab"
    protocol: str = ""


@dataclass(frozen=True)
class Mode:
    """How data connections are announced, and the family of the control connection."""

    verb: str
    family: str

    @property
    def active(self) -> bool:
        return self.verb in ("PORT", "EPRT")

    def __str__(self) -> str:
        return f"{self.verb} {self.family}"


@dataclass(frozen=True)
class Topology:
    """Where portcullis stands; `dialled` is the address that clients are given, by family."""

    name: str
    words: str
    dialled: dict
    hosts: tuple = ("client", "edge", "server")


@dataclass(frozen=True)
class Step:
    """One thing a client does in a session of its own; `verb` has to be on the wire for it to count."""

    name: str
    verb: str | None
    words: str
    timeout: int = 20


@dataclass(frozen=True)
class Cell:
    """One combination."""

    client: str
    server: str
    mode: Mode
    topology: str

    def __str__(self) -> str:
        return f"{self.client} {self.server} {self.mode} {self.topology}"


CLIENTS = ("curl", "lftp", "tnftp", "inetutils-ftp", "ncftp", "wget", "ftplib", "basic-ftp")

SERVERS = {
    server.name: server
    for server in (
        Server("vsftpd", "vsftpd", user="anonymous"),
        Server("pure-ftpd", "pure-ftpd"),
        Server("proftpd", "proftpd-core"),
        # It connects when it reads PORT or EPRT, and answers only when the connection stands.
        Server("pyftpdlib", "pyftpdlib-2.2.0", protocol="pinhole-opens: immediate"),
        Server("inetutils-ftpd", "inetutils-ftpd"),
    )
}

# PORT and PASV cannot name an IPv6 address.
MODES = (
    Mode("PORT", "v4"),
    Mode("EPRT", "v4"),
    Mode("PASV", "v4"),
    Mode("EPSV", "v4"),
    Mode("EPRT", "v6"),
    Mode("EPSV", "v6"),
)

SERVER_ITSELF = {"v4": "198.51.100.20", "v6": "2001:db8:51::20"}
# The same route without portcullis and without a firewall: what a client and a server can do at all.
PLAIN = Topology("plain", "no portcullis, firewall open", SERVER_ITSELF)

TOPOLOGIES = {
    topology.name: topology
    for topology in (
        Topology("behind-nat", "client behind NAT: transparent listener, the server sees the edge", SERVER_ITSELF),
        Topology(
            "published",
            "published server: clients dial the edge, the server sees the client",
            {"v4": "198.51.100.1", "v6": "2001:db8:51::1"},
        ),
        Topology(
            "two-edges",
            "client behind NAT and published server: two portcullis in line",
            {"v4": "198.51.100.2", "v6": "2001:db8:51::2"},
            ("client", "edge", "edge2", "server"),
        ),
        Topology("routed", "no NAT: transparent listener, the server sees the client", SERVER_ITSELF),
    )
}

STEPS = {
    step.name: step
    for step in (
        Step("LIST", None, "a listing"),
        Step("RETR", "RETR", "a download"),
        Step("STOR", "STOR", "an upload"),
        Step("APPE", "APPE", "an upload appended to a file"),
        Step("REST", "REST", "a download resumed in the middle"),
        Step("ABOR", "ABOR", "a download aborted in the middle, then another in the same session"),
        Step("MLSD", "MLSD", "a machine-readable listing"),
        Step("NAME", None, "a path with spaces and non-ASCII letters, down and up"),
        Step("EMPTY", None, "a file of 0 bytes, down and up"),
        Step("BIG", "RETR", "a download of 100 MB", timeout=60),
    )
}

# Each client, server, mode, family and topology at least once, in six labs.
CORE = (
    Cell("curl", "vsftpd", Mode("EPSV", "v6"), "behind-nat"),
    Cell("wget", "vsftpd", Mode("PORT", "v4"), "behind-nat"),
    Cell("lftp", "pure-ftpd", Mode("PORT", "v4"), "published"),
    Cell("basic-ftp", "pure-ftpd", Mode("EPSV", "v4"), "published"),
    Cell("tnftp", "proftpd", Mode("EPRT", "v4"), "two-edges"),
    Cell("ftplib", "proftpd", Mode("EPRT", "v6"), "two-edges"),
    Cell("inetutils-ftp", "inetutils-ftpd", Mode("PASV", "v4"), "routed"),
    Cell("ncftp", "pyftpdlib", Mode("PASV", "v4"), "published"),
)


def all_cells(topologies: list[str]) -> list[Cell]:
    """Every combination in some topologies, in the order of the table."""
    return [
        Cell(client, server, mode, topology)
        for topology, server, client, mode in product(topologies, SERVERS, CLIENTS, MODES)
    ]
