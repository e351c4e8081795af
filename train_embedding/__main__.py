"""`python -m train_embedding` is the command line."""

from train_embedding.cli import main
from train_embedding.cli.common import exit_process

if __name__ == "__main__":
    exit_process(main())
