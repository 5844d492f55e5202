"""Run the command line: `python -m encode_once COMMAND ...` is `encode-once COMMAND ...`."""

import sys


def main() -> int:
    """Run the command line and return the exit code."""
    from pipelines.cli import main as run  # only now: encode_once makes Python find it

    return run()


if __name__ == "__main__":
    sys.exit(main())
