"""``python -m gcnlab``."""

import sys

from gcnlab.cli import main

sys.exit(main())
