"""Runs in the Debian root: compute.py SECONDS -> {"value": ms for a million turns of a loop of integer arithmetic, the median of some samples, ...}. Python's start-up is not in it."""
import json
import statistics
import sys
import time

TURNS = 200_000


def compute():
    value = 0
    for turn in range(TURNS):
        value = (value * 31 + turn) % 1000003
    return value


def sample():
    begin = time.perf_counter()
    compute()
    return (time.perf_counter() - begin) * 1000 * (1_000_000 / TURNS)


def main():
    compute()
    deadline, samples = time.perf_counter() + float(sys.argv[1]), []
    while len(samples) < 5 or time.perf_counter() < deadline:
        samples.append(sample())
    print(json.dumps({"value": statistics.median(samples), "samples": len(samples)}))


if __name__ == "__main__":
    main()
