"""`python3 -m batchflow_runtime`, started in the project's folder."""

import os
import sys

if __name__ == "__main__":
    # The project comes first on sys.path here; its `queue.py` must not shadow the standard library's for us.
    if sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    from .main import main

    sys.exit(main())
