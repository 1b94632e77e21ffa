"""Interrupts an interactive client in the middle of a transfer: interrupt.py BEFORE AFTER PROGRAM ARGUMENT...

Writes the lines BEFORE, the last of which downloads to `junk`; once that file grows, sends SIGINT as the key
Ctrl-C does; then writes the lines AFTER.
"""

import os
import signal
import subprocess
import sys
import time

PATIENCE_S = 10.0


def main() -> int:
    before, after, *command = sys.argv[1:]
    client = subprocess.Popen(command, stdin=subprocess.PIPE)
    client.stdin.write(before.encode() + b"\n")
    client.stdin.flush()
    deadline = time.monotonic() + PATIENCE_S
    while not (os.path.exists("junk") and os.path.getsize("junk") > 0):
        if time.monotonic() > deadline or client.poll() is not None:
            print("the transfer did not begin", file=sys.stderr)
            client.kill()
            return 1
        time.sleep(0.02)
    client.send_signal(signal.SIGINT)
    # What is on its standard input when the signal comes, some clients throw away.
    time.sleep(0.5)
    try:
        client.stdin.write(after.encode() + b"\n")
        client.stdin.close()
    except BrokenPipeError:
        print("the client ended at the interrupt", file=sys.stderr)
    return client.wait()


sys.exit(main())
