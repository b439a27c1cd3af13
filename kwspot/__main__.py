"""`python -m kwspot` is the command `kwspot`, for where scripts are not on the path."""

import sys

from kwspot.cli import main

if __name__ == "__main__":
    sys.exit(main())
