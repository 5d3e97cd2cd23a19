"""``python -m gcnlab``."""

import sys


def main() -> int:
    """The command line; Ctrl-C is told in one line while that itself is imported, too."""
    try:
        from gcnlab.cli import main

        return main()
    except KeyboardInterrupt:
        print("\ngcnlab: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
