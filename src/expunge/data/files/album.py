"""The pictures of a data set by name: every file read once, every distinct content decoded once, on all cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from expunge.core.errors import Problem
from expunge.core.run import Progress
from expunge.data.files.lines import unsound
from expunge.data.files.manifest import Seen
from expunge.data.files.pictures import (
    MAX_BYTES,
    FilePicture,
    Unreadable,
    content_key,
    decode,
    find_inside,
    looks_of,
    read_bytes,
)


class Album:
    """Pictures below ``root``. ``remembered`` holds what earlier reading came to, by name: what has the same size and
    time still is not opened. What was seen now stands in ``seen``."""

    def __init__(self, root: Path, remembered: Mapping[str, Seen] | None = None):
        self.root = root
        self.seen: dict[str, Seen] = {}
        self._remembered = remembered or {}
        self._by_name: dict[str, FilePicture | Unreadable] = {}
        self._by_key: dict[str, Future[tuple[int, ...] | Unreadable]] = {}
        self._lock = threading.Lock()

    def look_ahead(self, names: Iterable[str], progress: Progress) -> None:
        """Decode these pictures on all cores (decoders let go of the interpreter), so that ``take`` finds them."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._by_name and not unsound(name)]
        if not wanted:
            return
        progress.start("looking at every picture", len(wanted))
        try:
            with ThreadPoolExecutor(max_workers=_cores()) as pool:
                for name, found in zip(wanted, pool.map(self._read, wanted)):
                    self._by_name[name] = found
                    progress.advance()
        finally:
            progress.finish()

    def take(self, name: Any, where: str, problems: list[Problem]) -> FilePicture | None:
        """The picture of that name, or None with the reason among the problems."""
        if unsound(name):
            return None  # said already, with the other wrong values of the line
        if name not in self._by_name:
            self._by_name[name] = self._read(name)
        found = self._by_name[name]
        if isinstance(found, Unreadable):
            problems.append(Problem(where, found.found, found.remedy))
            return None
        return found

    def hold(self, name: str, data: bytes) -> FilePicture | Unreadable:
        """A picture that lies inside another file, by a name that says where; or why it cannot be used."""
        if not 0 < len(data) <= MAX_BYTES:
            return Unreadable(f"the picture is {len(data):,} bytes", "Fetch it again")
        key, known = content_key(data), self._remembered.get(name)
        if known is None or known.sha256 != key:
            known = self._judge(key, data, 0)
        self.seen[name] = known
        if known.problem is not None:
            return Unreadable(*known.problem)
        return FilePicture(name, self.root, known.sha256, known.looks[0], known.looks[1:], data=data)

    def _read(self, name: str) -> FilePicture | Unreadable:
        try:
            path = find_inside(name, self.root)
            stat = path.stat()
            known = self._remembered.get(name)
            if known is None or (known.bytes, known.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
                data = read_bytes(path, name)
                known = self._judge(content_key(data), data, stat.st_mtime_ns)
        except Unreadable as error:
            return error
        except OSError as error:
            return Unreadable(f"the picture {name!r} cannot be reached ({error.strerror})", "Check its permissions")
        self.seen[name] = known
        if known.problem is not None:
            return Unreadable(f"{name!r}: {known.problem[0]}", known.problem[1])
        return FilePicture(name, self.root, known.sha256, known.looks[0], known.looks[1:])

    def _judge(self, key: str, data: bytes, mtime_ns: int) -> Seen:
        """Decode a content, or wait for the thread that does."""
        with self._lock:
            future = self._by_key.get(key)
            is_mine = future is None
            if future is None:
                future = self._by_key[key] = Future()
        if is_mine:
            try:
                future.set_result(looks_of(decode(data)))
            except Unreadable as error:
                future.set_result(error)
            except BaseException as error:
                future.set_exception(error)
        looks = future.result()
        if isinstance(looks, Unreadable):
            return Seen(key, len(data), mtime_ns, (), (looks.found, looks.remedy))
        return Seen(key, len(data), mtime_ns, looks)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
