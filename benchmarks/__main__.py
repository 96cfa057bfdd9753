"""All benchmarks but the ORM's: python -m benchmarks

First what lifting and falling through cost (benchmarks.routing), then static files beside
whitenoise (benchmarks.files), then aiodjango beside other servers (benchmarks.gateway, whose
options these are), then messages to open pages (benchmarks.broadcast); with --rows only the third.
With "broadcast" as the first argument only the last, whose options then follow. Ends with 1 when
a goal was missed.
"""

import sys

from benchmarks import broadcast, files, gateway, routing
from benchmarks.harness import check_machine, end_properly


def main() -> int:
    if sys.argv[1:2] == ["broadcast"]:
        del sys.argv[1]
        return broadcast.main()
    options = gateway.parse_arguments(__doc__)
    check_machine()
    end_properly()
    reached = True
    if options.all_rows:
        groups = routing.QUICK if options.quick else routing.COMPARISONS
        rounds = gateway.QUICK_ROUNDS if options.quick else routing.ROUNDS
        reached = routing.run(groups, rounds, options.seconds)
        print()
        reached &= files.run(
            gateway.QUICK_ROUNDS if options.quick else files.ROUNDS, options.seconds
        )
        print()
    reached &= gateway.run(options)
    if options.all_rows:
        print()
        rows = ["--quick"] if options.quick else []
        reached &= broadcast.run(broadcast.parse_arguments(rows))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
