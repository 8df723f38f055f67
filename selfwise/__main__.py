import sys

from selfwise.cli import main

sys.exit(main())
