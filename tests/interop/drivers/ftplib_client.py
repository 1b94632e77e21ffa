"""Does one step with Python's ftplib: ftplib_client.py STEP VERB ADDRESS USER PASSWORD -."""

import ftplib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from steps import NAMED, UPLOADED  # noqa: E402


class Client(ftplib.FTP):
    """Announces data connections by the verb wished for; ftplib itself goes by the address family."""

    def __init__(self, verb: str, address: str):
        self.verb = verb
        super().__init__(timeout=8, encoding="utf-8")
        self.connect(address, 21)
        self.set_pasv(verb in ("PASV", "EPSV"))

    def sendport(self, host: str, port: int) -> str:
        return self.sendeprt(host, port) if self.verb == "EPRT" else super().sendport(host, port)

    def makepasv(self) -> tuple[str, int]:
        if self.verb == "EPSV":
            return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())
        return super().makepasv()


def download(client: ftplib.FTP, remote: str, rest: int | None = None) -> None:
    with open("got", "ab" if rest else "wb") as file:
        client.retrbinary(f"RETR {remote}", file.write, rest=rest)


def upload(client: ftplib.FTP, local: str, remote: str, verb: str = "STOR") -> None:
    with open(local, "rb") as file:
        client.storbinary(f"{verb} {remote}", file)


def abort(client: ftplib.FTP) -> None:
    client.voidcmd("TYPE I")
    data = client.transfercmd("RETR big")
    data.recv(1000)
    first = client.abort()
    # Some servers give their second reply when the data connection is closed at both ends.
    data.close()
    if first.startswith("426"):
        print(client.getmultiline())
    download(client, "small")


def main() -> None:
    step, verb, address, user, password, _ = sys.argv[1:]
    client = Client(verb, address)
    client.login(user, password)
    match step:
        case "LIST":
            client.retrlines("LIST")
        case "RETR":
            download(client, "small")
        case "STOR":
            upload(client, "source", "stored")
        case "APPE":
            upload(client, "tail", "appended", "APPE")
        case "REST":
            download(client, "small", Path("got").stat().st_size)
        case "ABOR":
            abort(client)
        case "MLSD":
            for name, _facts in client.mlsd():
                print(name)
        case "NAME":
            download(client, NAMED)
            upload(client, "source", UPLOADED)
        case "EMPTY":
            download(client, "empty")
            upload(client, "nothing", "stored-empty")
        case "BIG":
            download(client, "big")
    client.quit()


main()
