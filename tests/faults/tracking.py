"""Fills connection tracking, or empties it of what it was filled with: tracking.py fill|empty

Entries are assured, so that the kernel makes no room. Says how many there are.
"""
import socket
import struct
import sys

NETFILTER = 12
NEW, DELETE = 1 << 8, (1 << 8) | 2
REQUEST, ACK, CREATE, EXCLUSIVE = 0x1, 0x4, 0x400, 0x200
ASSURED = 0x2 | 0x4 | 0x8  # SEEN_REPLY, ASSURED, CONFIRMED
ESTABLISHED = 3
SECONDS = 600
MARK = 0x77

with open("/proc/sys/net/netfilter/nf_conntrack_max") as file:
    most = int(file.read())


def attribute(kind, value, nested=False):
    head = struct.pack("HH", 4 + len(value), kind | (0x8000 if nested else 0))
    return head + value + b"\0" * (-len(value) % 4)


def tuple_of(source, destination, sport, dport):
    ip = attribute(1, socket.inet_aton(source)) + attribute(2, socket.inet_aton(destination))
    proto = attribute(1, b"\6") + attribute(2, struct.pack("!H", sport)) + attribute(3, struct.pack("!H", dport))
    return attribute(1, ip, True) + attribute(2, proto, True)


SAMPLE = ("10.98.0.1", "10.99.0.1", 40001, 40002)
there = tuple_of(*SAMPLE)
back = tuple_of(SAMPLE[1], SAMPLE[0], SAMPLE[3], SAMPLE[2])
body = (
    attribute(1, there, True)
    + attribute(2, back, True)
    + attribute(3, struct.pack("!I", ASSURED))
    + attribute(4, attribute(1, attribute(1, bytes([ESTABLISHED])), True), True)
    + attribute(7, struct.pack("!I", SECONDS))
    + attribute(8, struct.pack("!I", MARK))
)
template = struct.pack("IHHII", 20 + len(body), NEW, REQUEST | CREATE | EXCLUSIVE, 1, 0)
template += struct.pack("BBH", socket.AF_INET, 0, 0) + body


def place(pattern):
    found = []
    at = template.find(pattern)
    while at >= 0:
        found.append(at)
        at = template.find(pattern, at + 1)
    assert len(found) == 2, found
    return found


source = place(socket.inet_aton(SAMPLE[0]))
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
if sys.argv[1] == "empty":
    only = attribute(8, struct.pack("!I", MARK)) + attribute(21, struct.pack("!I", 0xFFFFFFFF))
    head = struct.pack("IHHII", 20 + len(only), DELETE, REQUEST | ACK, 1, 0)
    kernel.send(head + struct.pack("BBH", socket.AF_UNSPEC, 0, 0) + only)
    error = struct.unpack_from("i", kernel.recv(1 << 16), 16)[0]
    sys.exit(error and f"the kernel does not empty it: {error}")
try:
    kernel.setsockopt(socket.SOL_SOCKET, 32, 1 << 22)  # SO_SNDBUFFORCE
except PermissionError:
    # Root of these namespaces alone gets what everybody gets, which holds one batch.
    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
STEP = 256
single = bytearray(template)
many = bytearray(bytes(single) * STEP)
for first in range(0, most + STEP, STEP):
    for i in range(STEP):
        address = struct.pack("!I", 0x0B000000 + first + i)
        base = i * len(single)
        for at in source:
            many[base + at : base + at + 4] = address
    kernel.send(many)
    kernel.setblocking(False)
    try:
        while kernel.recv(1 << 16):
            pass
    except BlockingIOError:
        pass
    except OSError:
        pass
    kernel.setblocking(True)
with open("/proc/sys/net/netfilter/nf_conntrack_count") as file:
    print(file.read().strip(), "of", most)
