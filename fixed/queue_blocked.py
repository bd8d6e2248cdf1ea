"""An upload that a thread of its own writes, so that who sends it does not wait for the disk.

The thread leaves its loop when nothing is left to come. `with` closes the file, the thread ends,
and its stack holds nothing any more when `finish` returns.
"""

from concurrent.futures import Future
from pathlib import Path
from queue import Queue
from threading import Thread


class Upload:
    """Stores `size` bytes, which come in chunks, in the file `path`."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._chunks: Queue[bytes | None] = Queue()
        self._stored: Future[int] = Future()
        self._writer = Thread(target=self._write, daemon=True)
        self._writer.start()

    def add(self, chunk: bytes) -> None:
        """Have `chunk` written next."""
        self._chunks.put(chunk)

    def finish(self) -> int:
        """Wait until all bytes are stored; return their number. Raises OSError: they cannot be."""
        self._writer.join()
        return self._stored.result()

    def abort(self) -> None:
        """Write no more and remove the file: the sender has hung up."""
        self._chunks.put(None)
        self._writer.join()
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        try:
            with open(self._path, "wb") as file:
                left = self._size
                while left > 0 and (chunk := self._chunks.get()) is not None:
                    left -= file.write(chunk)
            self._stored.set_result(self._size - left)
        except OSError as error:
            self._stored.set_exception(error)
