"""A monitor that asks devices for their readings, all at once, and waits for none for too long.

`read` returns when its time is over. The thread that asks a silent device does not end: `recv` has
no time limit, the device neither answers nor hangs up, and the thread's stack holds the connection.
"""

import socket
import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Thread

Device = tuple[str, int]
"""Host and port. A device that is asked sends its reading, and hangs up."""


class Monitor:
    """Reads devices, and gives each of them `patience_s` seconds."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s

    def read(self, devices: Sequence[Device]) -> list[str | None]:
        """Return each device's reading; None for one that has not sent all of it in time.

        Raises OSError: one cannot be asked.
        """
        deadline_s = time.monotonic() + self._patience_s
        readings: list[Future[str]] = [Future() for _ in devices]
        asked = zip(devices, readings, strict=True)
        threads = [Thread(target=self._ask, args=each, daemon=True) for each in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0, deadline_s - time.monotonic()))
        return [reading.result() if reading.done() else None for reading in readings]

    def _ask(self, device: Device, reading: Future[str]) -> None:
        try:
            with socket.create_connection(device) as connection:
                connection.sendall(b"READ\n")
                parts = b""
                while part := connection.recv(64):
                    parts += part
                reading.set_result(parts.decode("ascii", "replace"))
        except OSError as error:
            reading.set_exception(error)
