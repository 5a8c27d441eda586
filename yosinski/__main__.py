"""`python -m yosinski` is the command line."""

import sys

from yosinski.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
