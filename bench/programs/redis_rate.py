"""Runs in the Debian root: redis_rate.py TEST SECONDS -> {"value": the requests per second that redis-benchmark counts, ...}.

A first, short run says how many requests fill the time. Nothing is persisted; the server is asked over loopback TCP.
"""
import json
import re
import socket
import subprocess
import sys
import time

PORT = 6391
FIRST_REQUESTS = 2000
LIMIT = 40  # seconds for one run of redis-benchmark


def wait_for_server(process):
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", PORT), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.02)
    sys.exit("redis-server does not answer: " + (process.stdout.read().decode(errors="replace")[-300:] if process.poll() is not None else "still starting"))


def requests_per_second(test, requests):
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(PORT), "-t", test, "-n", str(requests), "-c", "50", "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    found = re.search(rf'^"{test.upper()}[^"]*","([0-9.]+)"', done.stdout, re.MULTILINE)
    if done.returncode != 0 or not found:
        sys.exit(f"redis-benchmark ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return float(found[1])


def main():
    test, seconds = sys.argv[1], float(sys.argv[2])
    server = subprocess.Popen(["redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for_server(server)
        rate = requests_per_second(test, FIRST_REQUESTS)
        requests = max(FIRST_REQUESTS, int(rate * seconds))
        print(json.dumps({"value": requests_per_second(test, requests), "requests": requests}))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
