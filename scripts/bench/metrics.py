"""Measures what metrics cost: throughput with them, scraped far more often than in earnest, and
without; and how long a scrape takes meanwhile. Prints a Markdown table.

    python3 scripts/bench/metrics.py [--pairs 9]

Needs build/release/bin/{kvasir,kvasir-model,kvasir-tokenizer}. Clients, services and scrapes share the
cores; which of a pair comes first changes.
"""

import argparse
import os
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(__file__).parents[2] / "build/release/bin"
CALLS, TOKENS = 16, 2000
SCRAPE_EVERY = 0.5  # seconds; Prometheus: 15


@contextmanager
def service(name: str, *flags: str) -> Iterator[dict[str, str]]:
    """Where it listens, by what it says of each address."""
    command = [BIN / name, "--listen=127.0.0.1:0", "--log-level=error", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = {}
        for line in process.stdout:
            what, _, address = line.strip().rpartition(" ")
            said[what] = address
            if what == "listening on":
                break
        try:
            yield said
        finally:
            process.terminate()


def generate(model: str, tokenizer: str) -> float:
    """Tokens a second of calls that run together."""
    flags = [f"--model-server={model}", f"--tokenizer-server={tokenizer}"]
    flags += ["--ids", "--ignore-eos", f"-n{TOKENS}"]
    command = [BIN / "kvasir", "generate", "Once upon a time", *flags]
    begun = time.perf_counter()
    calls = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(CALLS)]
    if any(call.wait() != 0 for call in calls):
        raise SystemExit("a call failed")
    return CALLS * TOKENS / (time.perf_counter() - begun)


def scrape(address: str, done: threading.Event, seconds: list[float]) -> None:
    while not done.wait(SCRAPE_EVERY):
        begun = time.perf_counter()
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            answer.read()
        seconds.append(time.perf_counter() - begun)


def run(tokenizer: str, metrics: bool, scrapes: list[float]) -> float:
    flag = "--metrics=127.0.0.1:0" if metrics else "--metrics="
    with service("kvasir-model", "--kv-memory=256MiB", flag) as said:
        if not metrics:
            return generate(said["listening on"], tokenizer)
        done = threading.Event()
        address = said["metrics on"]
        scraper = threading.Thread(target=scrape, args=(address, done, scrapes))
        scraper.start()
        try:
            return generate(said["listening on"], tokenizer)
        finally:
            done.set()
            scraper.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=9)
    pairs: int = parser.parse_args().pairs
    scrapes: list[float] = []
    rates: dict[bool, list[float]] = {False: [], True: []}
    with service("kvasir-tokenizer", "--metrics=") as said:
        for i in range(pairs):
            for metrics in (False, True) if i % 2 == 0 else (True, False):
                rates[metrics].append(run(said["listening on"], metrics, scrapes))
    ratios = [a / b for a, b in zip(rates[True], rates[False], strict=True)]
    print(f"{pairs} pairs, {len(scrapes)} scrapes, load {os.getloadavg()[0]:.1f}\n")
    print("| without, tokens/s | with | ratio | from, to | a scrape | 95 of 100 within |")
    print("|---|---|---|---|---|---|")
    cells = [f"{statistics.median(rates[False]):.0f}", f"{statistics.median(rates[True]):.0f}"]
    cells += [f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f}, {max(ratios):.3f}"]
    cells += [f"{1e3 * statistics.median(scrapes):.2f} ms"]
    cells += [f"{1e3 * statistics.quantiles(scrapes, n=20)[-1]:.2f} ms"]
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
