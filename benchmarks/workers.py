"""A process that answers one question at a time, and is replaced when it dies, hangs, or grows old."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from typing import Any


class Worker:
    """A command that reads a line and writes one line of JSON, over and over.

    Args:
        command: The command.
        questions: After so many it is replaced, so that what libraries keep does not pile up.
    """

    def __init__(self, command: list[str], questions: int = 60) -> None:
        self._command = command
        self._questions = questions
        self._asked = 0
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def ask(self, question: str, timeout: float) -> dict[str, Any]:
        """The answer to one question.

        Raises:
            EOFError: The process ended.
            TimeoutError: It did not answer in time; it is ended.
        """
        if self._process is None or self._asked >= self._questions:
            self.stop()
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        self._asked += 1
        try:
            process.stdin.write(question + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.stop()
            raise TimeoutError(f"It took more than {timeout:.0f} s.") from None
        except BrokenPipeError:
            line = ""
        if not line:
            code = process.wait()
            self.stop()
            raise EOFError(f"Its process ended, with {code}.")
        return json.loads(line)

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> None:
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._process, self._asked, self._lines = process, 0, queue.Queue()
        threading.Thread(target=_pass_on, args=(process, self._lines), daemon=True).start()


def _pass_on(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Every line of the process, and an empty one when it ends."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")
