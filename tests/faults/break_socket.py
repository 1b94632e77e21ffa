"""Breaks the netlink socket by which the keeper changes nftables: break_socket.py PID mute|narrow

mute drops every answer that comes to it, narrow leaves it room for three.
"""
import ctypes
import errno
import os
import socket
import struct
import sys

NETFILTER = 12
SO_RCVBUF, SO_ATTACH_FILTER, SO_PROTOCOL = 8, 26, 38
PIDFD_GETFD = 438

pid, what = int(sys.argv[1]), sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
process = os.pidfd_open(pid)
sockets = []
for fd in sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd")):
    own = libc.syscall(PIDFD_GETFD, process, fd, 0)
    if own < 0 and ctypes.get_errno() == errno.EBADF:
        # It looks once a second whether its table is there, by a socket of that moment.
        continue
    if own < 0:
        sys.exit(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    try:
        found = socket.socket(fileno=own)
        if found.family != socket.AF_NETLINK:
            continue
        groups = found.getsockname()[1]
        if found.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL) == NETFILTER and groups == 0:
            sockets.append(found)
    except OSError:
        os.close(own)
# The first that it opened, and the first it had after that one.
chosen = sockets[0]
if what == "mute":
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(nothing))
    chosen.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
else:
    chosen.setsockopt(socket.SOL_SOCKET, SO_RCVBUF, 1)
