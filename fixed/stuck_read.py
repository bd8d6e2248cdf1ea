"""A monitor that asks devices for their readings, all at once, and waits for none for too long.

The time limit is where the waiting is: connecting and each `recv` have what is left until the
deadline, and then raise. `with` closes the connection, and the threads end before `read` returns.
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
        readings: list[Future[str]] = [Future() for _ in devices]
        asked = zip(devices, readings, strict=True)
        threads = [Thread(target=self._ask, args=each, daemon=True) for each in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [reading.result() if reading.done() else None for reading in readings]

    def _ask(self, device: Device, reading: Future[str]) -> None:
        deadline_s = time.monotonic() + self._patience_s
        try:
            with socket.create_connection(device, self._patience_s) as connection:
                connection.sendall(b"READ\n")
                parts = b""
                while (left_s := deadline_s - time.monotonic()) > 0:
                    connection.settimeout(left_s)
                    if not (part := connection.recv(64)):
                        reading.set_result(parts.decode("ascii", "replace"))
                        break
                    parts += part
        except TimeoutError:
            return
        except OSError as error:
            reading.set_exception(error)
