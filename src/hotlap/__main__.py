"""`python -m hotlap`: the command line, where the script is not on the path."""

import sys

from hotlap.cli.main import main

sys.exit(main())
