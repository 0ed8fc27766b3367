"""`python -m hal_core.cli`: the same as `hal`, for a tree that is not installed."""

import sys

from hal_core.cli import main

sys.exit(main())
