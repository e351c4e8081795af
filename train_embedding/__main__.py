"""`python -m train_embedding` is the command line."""

import sys

from train_embedding.cli import main

if __name__ == "__main__":
    sys.exit(main())
