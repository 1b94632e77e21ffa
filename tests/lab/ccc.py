#!/usr/bin/env python3
"""A client and a server that go back from TLS to plain text by CCC (RFC 4217 section 5).

  ccc.py server CERTIFICATE     serves one session on port 21; listens on port 2100 once it is ready
  ccc.py client ADDRESS         logs in over TLS, says CCC, then fetches a file in plain text and prints it
"""
import socket
import ssl
import sys

PATIENCE = 10


class Control:
    """One end of a control connection."""

    def __init__(self, stream):
        stream.settimeout(PATIENCE)
        self.stream = stream

    def say(self, line):
        self.stream.sendall(line.encode() + b"\r\n")

    def hear(self, start):
        line = b""
        # One byte at a time: what follows the line may belong to another layer.
        while not line.endswith(b"\r\n"):
            byte = self.stream.recv(1)
            if not byte:
                sys.exit(f"the connection ended where '{start}' was due")
            line += byte
        text = line.decode().strip()
        if not text.startswith(start):
            sys.exit(f"'{text}' came where '{start}' was due")
        return text

    def ask(self, line, start):
        self.say(line)
        return self.hear(start)


def serve(certificate):
    listener = socket.create_server(("0.0.0.0", 21))
    ready = socket.create_server(("127.0.0.1", 2100))
    control = Control(listener.accept()[0])
    control.say("220 a script")
    control.hear("AUTH TLS")
    control.say("234 go ahead")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    control.stream = context.wrap_socket(control.stream, server_side=True)
    for verb, reply in [("USER", "331 password"), ("PASS", "230 welcome"), ("PBSZ", "200 ok"), ("PROT", "200 ok")]:
        control.hear(verb)
        control.say(reply)
    control.hear("CCC")
    control.say("200 plain text from here on")
    control.stream = control.stream.unwrap()
    data = socket.create_server(("0.0.0.0", 0))
    control.hear("PASV")
    port = data.getsockname()[1]
    address = control.stream.getsockname()[0].replace(".", ",")
    control.say(f"227 Entering Passive Mode ({address},{port >> 8},{port & 255})")
    control.hear("RETR")
    data.settimeout(PATIENCE)
    stream = data.accept()[0]
    control.say("150 here it comes")
    stream.sendall(b"plain data after CCC")
    stream.close()
    control.say("226 done")
    control.hear("QUIT")
    control.say("221 bye")
    ready.close()


def fetch(address):
    control = Control(socket.create_connection((address, 21), PATIENCE))
    control.hear("220")
    control.ask("AUTH TLS", "234")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    control.stream = context.wrap_socket(control.stream)
    for line, start in [("USER ann", "331"), ("PASS secret", "230"), ("PBSZ 0", "200"), ("PROT C", "200")]:
        control.ask(line, start)
    control.ask("CCC", "200")
    control.stream = control.stream.unwrap()
    numbers = control.ask("PASV", "227").split("(")[1].split(")")[0].split(",")
    data = socket.create_connection((address, int(numbers[4]) * 256 + int(numbers[5])), PATIENCE)
    control.ask("RETR a-file", "150")
    while chunk := data.recv(4096):
        sys.stdout.write(chunk.decode())
    control.hear("226")
    control.ask("QUIT", "221")


if sys.argv[1] == "server":
    serve(sys.argv[2])
else:
    fetch(sys.argv[2])
