#!/usr/bin/env python3
"""Two results of `make bench` side by side: build/bench/kernels.json or models.json of two builds.

    compare.py OLD.json NEW.json [--least 0.05]

Shares of the machine's limit are compared where there are any, since machines differ and change; else speeds.
"""
import argparse
import json

IDENTITY = ("case", "kernel", "shape", "format", "target")
MEASURES = ("ratio", "bandwidth_share", "achieved", "fathom")


def rows(path):
    data = json.load(open(path))
    items = data["kernels"] if isinstance(data, dict) else data
    return {tuple(item[key] for key in IDENTITY if key in item): item for item in items}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--least", type=float, default=0.05, help="mark changes of at least this part")
    args = parser.parse_args()
    old, new = rows(args.old), rows(args.new)
    for key in [*old, *(k for k in new if k not in old)]:
        name = "  ".join(key)
        if key not in old or key not in new:
            print(f"{name:60} only in the {'new' if key in new else 'old'} file")
            continue
        measure = next((m for m in MEASURES if old[key].get(m) and new[key].get(m)), None)
        if measure is None:
            continue
        before, after = old[key][measure], new[key][measure]
        change = after / before - 1
        mark = "  " if abs(change) < args.least else "+ " if change > 0 else "- "
        print(f"{mark}{name:60} {measure:16} {before:10.3f} {after:10.3f}  {change:+.1%}")


if __name__ == "__main__":
    main()
