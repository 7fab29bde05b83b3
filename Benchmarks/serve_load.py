"""Loads a server on this machine: python serve_load.py --server ".build/release/swiftlet serve --model ... --port 8000"

Starts the server, keeps so many streams open until so many requests are done, hangs up on some of them midway, and
prints one JSON object: errors, times, tokens a second, the growth of the server's memory after the first tenth of the
requests, and the blocks of keys and values that are still held when all is over. Fails when there was an error or
something is still held. Nothing but Python's own library, and never another machine.
"""
import argparse
import asyncio
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
import urllib.request

HOST = "127.0.0.1"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", required=True, help="command that serves on this machine")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--streams", type=int, default=200, choices=range(1, 1001), metavar="1...1000")
    parser.add_argument("--requests", type=int, default=5000, choices=range(1, 100_001), metavar="1...100000")
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--cancelled", type=float, default=0.1, help="part of the requests to hang up on")
    return parser.parse_args()


def get(port, path):
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=30) as response:
        return response.read().decode()


def gauge(port, name):
    line = next(line for line in get(port, "/metrics").splitlines() if line.startswith(f"swiftlet_{name} "))
    return float(line.split()[1])


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


class Load:
    def __init__(self, arguments):
        self.arguments, self.left, self.done = arguments, arguments.requests, 0
        self.tokens, self.cancelled, self.errors = 0, 0, []
        self.firsts, self.seconds = [], []
        self.random = random.Random(1)

    def body(self, number):
        # Half of the prompts share their beginning.
        start = "You are a helpful assistant. " * 4 if number % 2 else f"{self.random.random()} "
        return json.dumps({
            "messages": [{"role": "user", "content": f"{start}What is {number} plus {number * 7 % 100}?"}],
            "max_tokens": self.random.randint(1, 2 * self.arguments.max_tokens), "stream": True, "ignore_eos": True,
            "temperature": 0.8, "seed": number,
        }).encode()

    async def request(self, number):
        hang_up = self.random.random() < self.arguments.cancelled
        after = self.random.randint(0, self.arguments.max_tokens)
        body, start, events = self.body(number), time.monotonic(), 0
        reader, writer = await asyncio.open_connection(HOST, self.arguments.port)
        try:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            if hang_up and after == 0:
                self.cancelled += 1
                return
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"{status!r} {(await reader.read())[-200:]!r}")
            ended = False
            while line := await reader.readline():
                if line.startswith(b"data: [DONE]"):
                    ended = True
                elif line.startswith(b"data: "):
                    if b'"error"' in line:
                        raise RuntimeError(line.decode())
                    events += 1
                    if events == 2:
                        self.firsts.append(time.monotonic() - start)
                    if hang_up and events > after:
                        self.cancelled += 1
                        return
            if not ended:
                raise RuntimeError("a stream ended early")
            self.tokens += events - 2
            self.seconds.append(time.monotonic() - start)
        finally:
            writer.close()

    async def stream(self):
        while self.left > 0:
            self.left -= 1
            number = self.arguments.requests - self.left
            try:
                await asyncio.wait_for(self.request(number), 300)
            except Exception as error:  # whatever it is, it is counted
                self.errors.append(f"{type(error).__name__}: {error}")
            self.done += 1

    async def run(self, pid):
        streams = [asyncio.create_task(self.stream()) for _ in range(self.arguments.streams)]
        samples = []
        while not all(stream.done() for stream in streams):
            samples.append((self.done, resident_kb(pid)))
            await asyncio.sleep(0.2)
        await asyncio.gather(*streams)
        return samples


def percentile(values, part):
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3) if ordered else None


def main():
    arguments = parse()
    server = subprocess.Popen(shlex.split(arguments.server), stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                get(arguments.port, "/health")
                break
            except OSError:
                time.sleep(0.2)
        load, start = Load(arguments), time.monotonic()
        samples = asyncio.run(load.run(server.pid))
        seconds = time.monotonic() - start
        for _ in range(100):  # what was hung up on last
            held = gauge(arguments.port, "kv_blocks_used"), gauge(arguments.port, "requests_running")
            if held == (0, 0):
                break
            time.sleep(0.1)
        settled = next(kb for done, kb in samples if done >= arguments.requests // 10)
        half = next(kb for done, kb in samples if done >= arguments.requests // 2)
        last = resident_kb(server.pid)
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
    finally:
        if server.poll() is None:
            server.kill()
    print(json.dumps({
        "requests": arguments.requests, "streams": arguments.streams, "cancelled": load.cancelled,
        "errors": len(load.errors), "first_errors": load.errors[:3], "seconds": round(seconds, 1),
        "requests_s": round(arguments.requests / seconds, 1), "tokens_s": round(load.tokens / seconds, 1),
        "first_event_s": {p: percentile(load.firsts, p / 100) for p in (50, 99)},
        "request_s": {p: percentile(load.seconds, p / 100) for p in (50, 99)},
        "rss_mb": {"after_tenth": settled >> 10, "after_half": half >> 10, "at_end": last >> 10},
        "blocks_held": held[0], "running": held[1], "exit_status": status,
    }))
    sys.exit(bool(load.errors) or held != (0, 0) or status != 0)


if __name__ == "__main__":
    main()
