"""Runs pyftpdlib for the user `lab` (password `lab`): pyftpd.py ROOT PORT."""

import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer


def main() -> None:
    root, port = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    FTPHandler.authorizer = DummyAuthorizer()
    FTPHandler.authorizer.add_user("lab", "lab", root, perm="elradfmwMT")
    # The dual-stack socket of `::` serves both families.
    FTPServer(("::", int(port)), FTPHandler).serve_forever()


main()
