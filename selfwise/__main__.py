import sys

# `python -m` puts the current folder first: a json.py there would be run in place of Python's own
if not sys.flags.safe_path and sys.path:
    del sys.path[0]

from selfwise.cli.main import main

sys.exit(main())
