"""The FTP clients: how each is told to use a mode and to do a step.

A step's command is a shell script that runs in a directory of its own; `CannotDo` says what a client has
no means for. Names of files are those of `steps.py`.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cells import Mode, Server
from steps import FOLDER, NAMED, UPLOADED

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class CannotDo:
    """A client has nothing that would do the step."""

    reason: str


@dataclass(frozen=True)
class Job:
    """Where a client is to go and how."""

    cache: Path
    server: Server
    address: str
    mode: Mode

    @property
    def url(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"ftp://{address}"

    def program(self, package: str, program: str) -> str:
        """The command that runs a program out of the cache."""
        root = self.cache / package
        return shlex.join([f"{root}/with", f"{root}/usr/bin/{program}"])


def curl(step: str, job: Job) -> str | CannotDo:
    flags = {"PORT": "--ftp-port - --disable-eprt", "EPRT": "--ftp-port -", "PASV": "--disable-epsv", "EPSV": ""}
    base = (
        f"{job.program('curl', 'curl')} -sS --globoff --max-time 60 -u {job.server.user}:{job.server.password}"
        f" {flags[job.mode.verb]}"
    )
    url = job.url
    match step:
        case "LIST":
            return f"{base} {url}/"
        case "RETR":
            return f"{base} -o got {url}/small"
        case "STOR":
            return f"{base} -T source {url}/stored"
        case "APPE":
            return f"{base} --append -T tail {url}/appended"
        case "REST":
            return f"{base} -C - -o got {url}/small"
        case "MLSD":
            return f"{base} -X MLSD {url}/"
        case "NAME":
            return f"{base} -o got {url}/{quote(NAMED)} && {base} -T source {url}/{quote(UPLOADED)}"
        case "EMPTY":
            return f"{base} -o got {url}/empty; touch got; {base} -T nothing {url}/stored-empty"
        case "BIG":
            return f"{base} -o got {url}/big"
    return CannotDo("curl has no ABOR: it ends a transfer by closing")


def lftp(step: str, job: Job) -> str | CannotDo:
    setup = (
        "set net:max-retries 1; set net:timeout 10; set net:reconnect-interval-base 1; set ftp:ssl-allow no; set xfer:clobber yes; set ftp:use-mlsd no;"
        f" set ftp:passive-mode {'off' if job.mode.active else 'on'};"
        f" set ftp:prefer-epsv {'on' if job.mode.verb == 'EPSV' else 'off'};"
        f" open -u {job.server.user},{job.server.password} {job.url};"
    )
    commands = {
        "LIST": "ls",
        "RETR": "get small -o got",
        "STOR": "put source -o stored",
        "APPE": "put -c whole -o appended",
        "REST": "get -c small -o got",
        "ABOR": "set net:limit-rate 2M; set net:timeout 2; get big -o junk & sleep 1; kill all; set net:limit-rate 0; get small -o got",
        "MLSD": "set ftp:use-mlsd yes; cls -1",
        "NAME": f'get "{NAMED}" -o got; put source -o "{UPLOADED}"',
        "EMPTY": "get empty -o got; put nothing -o stored-empty",
        "BIG": "get big -o got",
    }
    return f"{job.program('lftp', 'lftp')} -c {shlex.quote(setup + commands[step])}"


def by_script(program: str, setup: list[str], step: str) -> str | CannotDo:
    """A client that takes the commands of BSD's ftp on its standard input."""
    commands = {
        "LIST": ["ls"],
        "RETR": ["get small got"],
        "STOR": ["put source stored"],
        "APPE": ["append tail appended"],
        "REST": ["reget small got"],
        "MLSD": ["mlsd"],
        "NAME": [f'get "{NAMED}" got', f'put source "{UPLOADED}"'],
        "EMPTY": ["get empty got", "put nothing stored-empty"],
        "BIG": ["get big got"],
    }
    if step == "ABOR":
        return interrupted(program, [*setup, "get big junk"], ["get small got", "quit"])
    lines = [*setup, *commands[step], "quit"]
    return f"printf '%s\\n' {shlex.join(lines)} | {program}"


def interrupted(program: str, before: list[str], after: list[str]) -> str:
    """Interrupts the last command of `before` in its course, and goes on with `after`."""
    arguments = [PYTHON, str(HERE / "drivers" / "interrupt.py"), "\n".join(before), "\n".join(after)]
    return f"{shlex.join(arguments)} {program}"


def tnftp(step: str, job: Job) -> str | CannotDo:
    # -a would be anonymous login; -n leaves it to `user`.
    program = f"{job.program('tnftp', 'tnftp')} -n -v -i {'-A' if job.mode.active else '-p'}"
    extended = "on" if job.mode.verb.startswith("E") else "off"
    setup = [
        f"epsv4 {extended}",
        f"open {job.address}",
        f"user {job.server.user} {job.server.password}",
        "binary",
    ]
    if step == "ABOR":
        setup.append("rate get 4m")
    return by_script(program, setup, step)


def inetutils_ftp(step: str, job: Job) -> str | CannotDo:
    if step == "MLSD":
        return CannotDo("inetutils ftp has no MLSD")
    program = f"{job.program('inetutils-ftp', 'inetutils-ftp')} -n -v -i"
    setup = [f"open {job.address}", f"user {job.server.user} {job.server.password}", "binary"]
    if not job.mode.active:
        setup.append("passive")
    # Extended commands for IPv4 are a switch, off at first.
    if job.mode.family == "v4" and job.mode.verb.startswith("E"):
        setup.append("epsv4")
    return by_script(program, setup, step)


def ncftp(step: str, job: Job) -> str | CannotDo:
    flags = f"-u {job.server.user} -p {job.server.password} {'-E' if job.mode.active else '-F'} -t 15 -r 1 -d /dev/stdout"
    get, put, ls = (f"{job.program('ncftp', name)} {flags}" for name in ("ncftpget", "ncftpput", "ncftpls"))
    host = job.address
    match step:
        case "LIST":
            return f"{ls} -l {job.url}/"
        case "RETR":
            return f"{get} {host} . small && mv small got"
        case "STOR":
            return f"cp source stored && {put} {host} . stored"
        case "APPE":
            return f"cp tail appended && {put} -A {host} . appended"
        case "REST":
            return f"mv got small && {get} -z {host} . small && mv small got"
        case "MLSD":
            return f"{ls} -m {job.url}/"
        case "NAME":
            name = UPLOADED.removeprefix(f"{FOLDER}/")
            return (
                f"{get} {host} . {shlex.quote(NAMED)} && mv {shlex.quote(NAMED.removeprefix(f'{FOLDER}/'))} got"
                f" && cp source {shlex.quote(name)} && {put} {host} {shlex.quote(FOLDER)} {shlex.quote(name)}"
            )
        case "EMPTY":
            return f"{get} {host} . empty && mv empty got && cp nothing stored-empty && {put} {host} . stored-empty"
        case "BIG":
            return f"{get} {host} . big && mv big got"
    setup = [
        f"set passive {'off' if job.mode.active else 'on'}",
        f"open -u {job.server.user} -p {job.server.password} {host}",
    ]
    # The interactive program: the others end when they are interrupted.
    return interrupted(job.program("ncftp", "ncftp3"), [*setup, "get -z big junk"], ["get -z small got", "quit"])


def wget(step: str, job: Job) -> str | CannotDo:
    base = (
        f"{job.program('wget', 'wget')} -nv --tries=1 --timeout=15 --user={job.server.user}"
        f" --password={job.server.password} --no-hsts {'--no-passive-ftp' if job.mode.active else ''}"
    )
    match step:
        case "LIST":
            return f"{base} -O - {job.url}/"
        case "RETR":
            return f"{base} -O got {job.url}/small"
        case "REST":
            return f"{base} -c -O got {job.url}/small"
        case "NAME":
            return f"{base} -O got {job.url}/{quote(NAMED)}"
        case "EMPTY":
            return f"{base} -O got {job.url}/empty"
        case "BIG":
            return f"{base} -O got {job.url}/big"
        case "STOR" | "APPE":
            return CannotDo("wget only downloads")
    return CannotDo(f"wget has no {step}")


def by_driver(interpreter: str, driver: str, library: str, step: str, job: Job) -> str:
    """A library, used by a small program under `drivers`."""
    arguments = [
        interpreter,
        str(HERE / "drivers" / driver),
        step,
        job.mode.verb,
        job.address,
        job.server.user,
        job.server.password,
        library,
    ]
    return shlex.join(arguments)


def ftplib(step: str, job: Job) -> str | CannotDo:
    return by_driver(PYTHON, "ftplib_client.py", "", step, job)


def basic_ftp(step: str, job: Job) -> str | CannotDo:
    if step == "ABOR":
        return CannotDo("basic-ftp has no ABOR: it ends a transfer by closing the session")
    library = job.cache / "basic-ftp-6.2.3" / "node_modules" / "basic-ftp"
    return by_driver("node", "basic_ftp.cjs", str(library), step, job)


COMMANDS = {
    "curl": curl,
    "lftp": lftp,
    "tnftp": tnftp,
    "inetutils-ftp": inetutils_ftp,
    "ncftp": ncftp,
    "wget": wget,
    "ftplib": ftplib,
    "basic-ftp": basic_ftp,
}

# What cannot put files on a server does only the first half of the steps that go both ways.
DOWNLOADS_ONLY = ("wget",)
