"""The process that measures: ``run.elsewhere`` tells it what on its standard input and reads its table."""

from __future__ import annotations

import json
import sys

from .options import Options, prepare


def main() -> None:
    order = json.load(sys.stdin)
    options = Options.from_dict(order["options"])
    prepare(options)
    from .jobs import JOBS  # after the allocator is set

    JOBS[order["job"]](options, **order["arguments"]).to_pickle(order["file"])


if __name__ == "__main__":
    main()
