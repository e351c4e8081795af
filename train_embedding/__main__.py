"""`python -m train_embedding` is the command line."""

from train_embedding.cli import main
from train_embedding.cli.common import leave

if __name__ == "__main__":
    leave(main())
