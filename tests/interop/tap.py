"""Reads the control connections of one host off the wire: what was said, whatever client and server log.

Owns the packet socket, its filter and the putting together of lines; says nothing about what they mean.
"""

import ctypes
import os
import socket
import struct
import threading
from dataclasses import dataclass, field

CLONE_NEWNET = 0x40000000
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3
CONTROL_PORT = 21

# Classic BPF for `tcp port 21` of IPv4 without fragments and IPv6 without extension headers:
# (code, jump if true, jump if false, value), offsets from the Ethernet header.
FILTER = (
    (0x28, 0, 0, 12),  # the type of the frame
    (0x15, 0, 6, 0x86DD),
    (0x30, 0, 0, 20),  # IPv6: the next header
    (0x15, 0, 13, 6),
    (0x28, 0, 0, 54),
    (0x15, 10, 0, CONTROL_PORT),
    (0x28, 0, 0, 56),
    (0x15, 8, 9, CONTROL_PORT),
    (0x15, 0, 8, 0x0800),
    (0x30, 0, 0, 23),  # IPv4: the protocol
    (0x15, 0, 6, 6),
    (0xB1, 0, 0, 14),  # X = the length of the IPv4 header
    (0x48, 0, 0, 14),
    (0x15, 2, 0, CONTROL_PORT),
    (0x48, 0, 0, 16),
    (0x15, 0, 1, CONTROL_PORT),
    (0x6, 0, 0, 0xFFFF),  # taken
    (0x6, 0, 0, 0),  # not taken
)


def enter_network(pid: int) -> None:
    """Moves the calling thread into the network namespace of a process."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network of process {pid}")
    finally:
        os.close(namespace)


@dataclass
class Conversation:
    """One control connection: its lines, `C:` what the client said and `S:` what the server said."""

    lines: list[str] = field(default_factory=list)
    rest: dict = field(default_factory=lambda: {"C": b"", "S": b""})
    next_byte: dict = field(default_factory=dict)

    def add(self, side: str, sequence: int, payload: bytes) -> None:
        """Takes a segment in; a repeated one adds nothing."""
        expected = self.next_byte.get(side, sequence)
        # Sequence numbers wrap at 2^32.
        behind = (expected - sequence) % 2**32
        if behind >= 2**31:
            behind = 0
        payload = payload[behind:]
        if not payload:
            return
        self.next_byte[side] = (sequence + behind + len(payload)) % 2**32
        *whole, self.rest[side] = (self.rest[side] + payload).split(b"\n")
        for line in whole:
            shown = line.rstrip(b"\r").decode("utf-8", "backslashreplace")
            self.lines.append(f"{side}: {shown}")


class Tap:
    """Listens on one interface of a host until it is closed."""

    def __init__(self, pid: int, interface: str = "eth0"):
        self._conversations: dict = {}
        self._order: list[Conversation] = []
        self._lock = threading.Lock()
        ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._listen, args=(pid, interface, ready), daemon=True)
        self._closed = False
        self._thread.start()
        ready.wait()
        if self._failure:
            raise self._failure

    def mark(self) -> int:
        """A position; see `since`."""
        with self._lock:
            return len(self._order)

    def since(self, mark: int) -> list[list[str]]:
        """The lines of each conversation that began after the mark."""
        with self._lock:
            return [list(conversation.lines) for conversation in self._order[mark:]]

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._thread.join()

    def _listen(self, pid: int, interface: str, ready: threading.Event) -> None:
        try:
            enter_network(pid)
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            program = b"".join(struct.pack("HBBI", *step) for step in FILTER)
            buffer = ctypes.create_string_buffer(program)
            tap.setsockopt(
                socket.SOL_SOCKET,
                SO_ATTACH_FILTER,
                struct.pack("HL", len(FILTER), ctypes.addressof(buffer)),
            )
            tap.bind((interface, ETH_P_ALL))
            tap.settimeout(0.2)
        except OSError as error:
            self._failure = error
            return
        finally:
            ready.set()
        while not self._closed:
            try:
                frame = tap.recv(65535)
            except TimeoutError:
                continue
            self._take(frame)
        tap.close()

    def _take(self, frame: bytes) -> None:
        if frame[12:14] == b"\x86\xdd":
            length = struct.unpack_from("!H", frame, 18)[0]
            addresses, segment = (frame[22:38], frame[38:54]), frame[54 : 54 + length]
        else:
            header = (frame[14] & 15) * 4
            length = struct.unpack_from("!H", frame, 16)[0]
            addresses, segment = (frame[26:30], frame[30:34]), frame[14 + header : 14 + length]
        source, destination, sequence = struct.unpack_from("!HHI", segment)
        payload, flags = segment[(segment[12] >> 4) * 4 :], segment[13]
        syn = bool(flags & 2)
        side, client = ("C", (addresses[0], source)) if destination == CONTROL_PORT else ("S", (addresses[1], destination))
        with self._lock:
            conversation = self._conversations.get(client)
            if conversation is None or (syn and side == "C" and conversation.next_byte.get("C") != (sequence + 1) % 2**32):
                conversation = self._conversations[client] = Conversation()
                self._order.append(conversation)
            if syn:
                conversation.next_byte[side] = (sequence + 1) % 2**32
            conversation.add(side, sequence + syn, payload)
