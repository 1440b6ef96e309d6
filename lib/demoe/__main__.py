"""``python -m demoe`` is the command ``demoe``."""

from demoe.app.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
