"""The files of each step: what lies on the server and with the client before, and what has to be there after."""

import os
import shutil
from pathlib import Path

FOLDER = "dir with space"
NAMED = f"{FOLDER}/Grüße ☃.bin"
UPLOADED = f"{FOLDER}/hin über.bin"

SMALL_BYTES = 70_000
# Where the file for REST and APPE is cut.
CUT = 30_001
BIG_BYTES = 100_000_000

# A file's content ought to be told from any other's, and a big one made quickly.
SOURCE_OF_BYTES = "/dev/urandom"


def make_originals(place: Path) -> None:
    """Makes the files that all labs share."""
    place.mkdir()
    with open(SOURCE_OF_BYTES, "rb") as source:
        for name, size in (("small", SMALL_BYTES), ("big", BIG_BYTES), ("source", SMALL_BYTES), ("empty", 0)):
            with (place / name).open("wb") as file:
                left = size
                while left:
                    left -= file.write(source.read(min(left, 1 << 20)))
            (place / name).chmod(0o644)
    place.chmod(0o755)


def prepare_server(originals: Path, pub: Path) -> None:
    """Puts there what every session finds."""
    for name in ("small", "big", "empty"):
        os.link(originals / name, pub / name)
    (pub / FOLDER).mkdir()
    (pub / FOLDER).chmod(0o777)
    os.link(originals / "small", pub / NAMED)


def prepare(step: str, originals: Path, pub: Path, work: Path) -> None:
    """Makes the client's directory for a step, and takes away what an earlier one left on the server."""
    work.mkdir()
    source = (originals / "source").read_bytes()
    match step:
        case "STOR" | "NAME":
            os.link(originals / "source", work / "source")
        case "APPE":
            # `tail` for clients that append; `whole` for those that go on where the remote file ends.
            (work / "tail").write_bytes(source[CUT:])
            os.link(originals / "source", work / "whole")
            (pub / "appended").unlink(missing_ok=True)
            (pub / "appended").write_bytes(source[:CUT])
            (pub / "appended").chmod(0o666)
        case "REST":
            (work / "got").write_bytes((originals / "small").read_bytes()[:CUT])
        case "EMPTY":
            (work / "nothing").touch()
    for name in ("stored", "stored-empty", UPLOADED):
        (pub / name).unlink(missing_ok=True)


def fault(step: str, originals: Path, pub: Path, work: Path, output: Path, uploads: bool) -> str | None:
    """What is wrong with the files after a step; None where all is well."""
    got = work / "got"
    match step:
        case "LIST" | "MLSD":
            listed = output.read_bytes()
            return None if b"small" in listed and b"empty" in listed else "the listing lacks files"
        case "RETR" | "REST" | "ABOR":
            return differs(got, originals / "small", "the download")
        case "STOR":
            return differs(pub / "stored", originals / "source", "the upload")
        case "APPE":
            return differs(pub / "appended", originals / "source", "the file appended to")
        case "NAME":
            return differs(got, originals / "small", "the download") or (
                differs(pub / UPLOADED, originals / "source", "the upload") if uploads else None
            )
        case "EMPTY":
            return differs(got, originals / "empty", "the download") or (
                differs(pub / "stored-empty", originals / "empty", "the upload") if uploads else None
            )
        case "BIG":
            return differs(got, originals / "big", "the download")
    raise ValueError(f"no step is called {step}")


def clear(work: Path) -> None:
    """Removes the client's directory."""
    shutil.rmtree(work, ignore_errors=True)


def differs(one: Path, other: Path, what: str) -> str | None:
    """Compares two files byte for byte."""
    if not one.exists():
        return f"{what} is not there"
    if one.stat().st_size != other.stat().st_size:
        return f"{what} has {one.stat().st_size} bytes, not {other.stat().st_size}"
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(1 << 20):
            if block != right.read(1 << 20):
                return f"{what} has other bytes"
    return None
