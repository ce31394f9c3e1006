"""`python -m batchflow` is the command `batchflow`; pods start their steps so."""

from batchflow.cli.main import main

if __name__ == "__main__":
    main()
