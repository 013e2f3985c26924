"""`python -m tslm` is the `tslm` command."""

import sys

from tslm.cli import main

if __name__ == "__main__":
    sys.exit(main())
