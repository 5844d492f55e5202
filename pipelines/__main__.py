"""Start the programs: `python -m pipelines COMMAND …` is `encode-once COMMAND …`."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main())
