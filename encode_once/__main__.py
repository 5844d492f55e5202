"""Run the command line: `python -m encode_once COMMAND ...` is `encode-once COMMAND ...`."""

import sys


def main() -> int:
    """Run the command line and return the exit code."""
    from pipelines.command_line import cli  # only now: encode_once makes Python find it

    return cli.end_after_signal(cli.main())


if __name__ == "__main__":
    sys.exit(main())
