"""A caller of the service, as a process of its own: so many requests at once, or so many a second.

python -m benchmarks.load URL FOLDER --connections 16 --requests 200
python -m benchmarks.load URL FOLDER --rate 40 --seconds 20
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent


class Caller:
    """Sends the bodies in turn and keeps what came back."""

    def __init__(self, url: str, bodies: list[bytes]) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname or "", address.port or 80
        self.bodies = cycle(bodies)
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection(self.host, self.port)

    async def call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        """One request and its answer, in full."""
        started = time.perf_counter()
        head = f"POST /extract HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(answer.partition("content-length:")[2].partition("\r")[0]))
        self.statuses[answer.split()[1]] += 1
        self.seconds.append(time.perf_counter() - started)

    async def keep_calling(self, bodies: Any) -> None:
        """One connection that sends the next body as soon as the last is answered."""
        reader, writer = await self.connect()
        for body in bodies:
            await self.call(reader, writer, body)
        writer.close()

    async def call_alone(self, body: bytes) -> None:
        """One request on a connection of its own; what is not answered is counted by what went wrong."""
        try:
            reader, writer = await self.connect()
            await self.call(reader, writer, body)
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.statuses[type(error).__name__] += 1

    async def closed(self, connections: int, requests: int) -> None:
        """`requests` in all over so many connections."""
        work = islice(self.bodies, requests)
        await asyncio.gather(*(self.keep_calling(work) for _ in range(connections)))

    async def open(self, rate: float, seconds: float) -> None:
        """`rate` requests a second, whatever becomes of those before."""
        tasks, started = [], time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(self.call_alone(next(self.bodies))))
        await asyncio.gather(*tasks)


def call(url: str, bodies: Path, **options: float) -> dict[str, Any]:
    """Run this file in a process of its own; its result: seconds in all, of each request, and statuses."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.load", url, str(bodies), *words]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Call, then print the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="JSON lines, one body each")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    caller = Caller(arguments.url, arguments.bodies.read_bytes().splitlines())
    started = time.perf_counter()
    if arguments.rate:
        asyncio.run(caller.open(arguments.rate, arguments.seconds))
    else:
        asyncio.run(caller.closed(arguments.connections, arguments.requests))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "each": caller.seconds, "statuses": caller.statuses}))


if __name__ == "__main__":
    main()
