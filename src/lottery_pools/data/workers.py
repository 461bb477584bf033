"""Decoding many images, on one process or on several, into one file.

Pillow's decoders of small images hold Python's lock, so that threads gain nothing (docs/decisions.md). The processes
are started by a command of their own, not by `multiprocessing`, which would run the main script of a user again in
each of them. A process reads blocks from its standard input, and answers on its standard output (`main`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lottery_pools.data import pixels
from lottery_pools.data.pixels import Pixels
from lottery_pools.errors import UserError

COMMAND = ("-P", "-c", "from lottery_pools.data import workers; workers.main()")
"""The arguments with which Python starts a process that decodes. `-P`: files in the current folder hide no modules."""


@dataclass(frozen=True)
class Target:
    """The file into which images are decoded, one after the other, all of the same shape."""

    path: Path
    start: int
    """Bytes before the first image."""
    shape: tuple[int, int, int]
    """Channels (1 or 3), height and width of every image."""
    size: int | None
    """Side in pixels to which images are resized (`pixels.decode`)."""
    skips: bool = False
    """Whether images that cannot be decoded are named and passed over: their place in the file stays black."""


@dataclass(frozen=True)
class Block:
    """Images that are decoded by one process, in one step."""

    first: int
    """Number of the first image in the file."""
    images: list[bytes | str | None]
    """Contents of image files, or their paths; None is a missing image."""


@dataclass(frozen=True)
class Failure:
    """Why an image of a block does not fit into the target."""

    index: int
    """Number of the image in the file."""
    reason: str = ""
    """Why it cannot be decoded; empty if it can, and only its shape does not fit."""
    shape: tuple[int, int, int] = (0, 0, 0)
    """The shape of an image that can be decoded."""


@dataclass(frozen=True)
class Outcome:
    """What came of a block."""

    count: int = 0
    """Images that were decoded."""
    digest: bytes = b""
    """The SHA-256 of the block's pixels."""
    remarks: Counter[str] = field(default_factory=Counter)
    """How many images each key of `pixels.REMARKS` is true of."""
    failure: Failure | None = None
    """The first image that failed, after which nothing is decoded."""
    skipped: tuple[Failure, ...] = ()
    """The images that were passed over."""
    write_error: tuple[int, str] | None = None
    """Number and text of the error if the file cannot be written."""


def decode_block(target: Target, block: Block) -> Outcome:
    """Decode the images of a block, and write them into the file of the target; greyscale fits into three channels."""
    digest = hashlib.sha256()
    remarks: Counter[str] = Counter()
    skipped: list[Failure] = []
    channels, height, width = target.shape
    try:
        with target.path.open("r+b") as file:
            file.seek(target.start + block.first * channels * height * width)
            for index, image in enumerate(block.images, block.first):
                decoded = _decoded(image, target, index)
                if isinstance(decoded, Failure):
                    if not (decoded.reason and target.skips):
                        return Outcome(failure=decoded)
                    skipped.append(decoded)
                    decoded = Pixels((1, height, width), bytes(height * width), ())
                values = decoded.values * (channels // decoded.shape[0])
                file.write(values)
                digest.update(values)
                remarks.update(decoded.remarks)
    except OSError as error:  # of writing: `_decoded` has those of reading
        return Outcome(write_error=(error.errno or errno.EIO, error.strerror or str(error)))
    return Outcome(len(block.images), digest.digest(), remarks, skipped=tuple(skipped))


def _decoded(image: bytes | str | None, target: Target, index: int) -> Pixels | Failure:
    """The pixels of one image, or why they do not fit into the target."""
    try:
        decoded = pixels.decode(image, target.size)
    except pixels.UnreadableImageError as error:
        return Failure(index, str(error) or "unknown")
    fits = decoded.shape[1:] == target.shape[1:] and decoded.shape[0] <= target.shape[0]
    return decoded if fits else Failure(index, shape=decoded.shape)


def outcomes(target: Target, blocks: Iterable[Block], processes: int) -> Generator[Outcome, None, None]:
    """Decode blocks, and yield what came of them in their order.

    Few blocks are in memory at a time: one for each process, and one more.

    Args:
        target: The file; it exists.
        blocks: The blocks; they are read from as they are needed.
        processes: Processes that decode at the same time; 1 is this process.

    Raises:
        UserError: A process was killed.
    """
    if processes == 1:
        yield from (decode_block(target, block) for block in blocks)
        return
    waiting: deque[Future[Outcome]] = deque()
    with _decoders(processes) as idle, ThreadPoolExecutor(processes) as threads:
        try:
            for block in blocks:
                waiting.append(threads.submit(_elsewhere, idle, target, block))
                if len(waiting) > processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


Decoder = subprocess.Popen[bytes]


@contextmanager
def _decoders(processes: int) -> Iterator[queue.Queue[Decoder]]:
    """Start processes that decode: a queue of those that are idle. They end with the context."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }
    idle: queue.Queue[Decoder] = queue.Queue()
    started: list[Decoder] = []
    try:
        for _ in range(processes):
            started.append(
                subprocess.Popen(
                    [sys.executable, *COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
                )
            )
            idle.put(started[-1])
        yield idle
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _elsewhere(idle: queue.Queue[Decoder], target: Target, block: Block) -> Outcome:
    """Have an idle process decode a block."""
    process = idle.get()
    tasks, answers = process.stdin, process.stdout
    assert tasks is not None
    assert answers is not None
    try:
        pickle.dump((target, block), tasks, pickle.HIGHEST_PROTOCOL)
        tasks.flush()
        outcome: Outcome = pickle.load(answers)
    except (EOFError, BrokenPipeError) as error:
        last = block.first + len(block.images) - 1
        raise UserError(
            f"a process that decodes images ended while it was at images {block.first} to {last}: it was killed, "
            "perhaps for want of memory, or one of these images is damaged"
        ) from error
    finally:
        idle.put(process)
    return outcome


def _serve(tasks: IO[bytes], answers: IO[bytes]) -> None:
    """Decode blocks as they come, until there are no more."""
    while True:
        try:
            target, block = pickle.load(tasks)
        except EOFError:
            return
        pickle.dump(decode_block(target, block), answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def main() -> None:
    """Be a process that decodes: leave Ctrl-C to the parent, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries that print must not print into the answers
    with os.fdopen(answers, "wb") as file:
        _serve(sys.stdin.buffer, file)
