"""`python -m promu.cli`, for where the `promu` script is not on the path."""

import sys

from promu.cli import main

sys.exit(main())
