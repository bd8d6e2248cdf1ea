"""An upload that a thread of its own writes, so that who sends it does not wait for the disk.

`with` closes the file where its block ends, and here it never ends: when the last chunk is written,
the thread waits inside the block for one more. A thread that runs holds its stack, and the stack
holds the file, though everybody else has forgotten the upload.
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
                while (chunk := self._chunks.get()) is not None:
                    left -= file.write(chunk)
                    if left == 0:
                        file.flush()
                        self._stored.set_result(self._size)
        except OSError as error:
            self._stored.set_exception(error)
