"""`python -m mamlax`."""

import sys

from .cli import main

sys.exit(main())
