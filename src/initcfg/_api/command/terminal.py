"""What a command says on the terminal: answers, and errors."""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initcfg._api.command.collector import work_begins
from initcfg.errors import BuildError, InitcfgError, OutputError, console, draw, line, say, shown, shown_lines
from initcfg.errors import as_json as as_json_text

if TYPE_CHECKING:
    from rich.table import Table

# Seconds that other ranks leave the first to say what went wrong.
_PATIENCE = 20.0
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def answer(as_json: bool, data: Callable[[], Any], views: Callable[[], Iterable[Any]]) -> None:
    """Print what a command found: as JSON, or for a person.

    On a terminal with colors; in a pipe as plain lines that stay whole. Who reads no further, as ``head``
    does, has had what was wanted: the command ends as it would have.
    """
    try:
        if as_json:
            say(as_json_text(data(), indent=1, default=str))
        else:
            for view in views():
                draw(view)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _read_by_nobody()
    except OSError as error:
        if isinstance(error, InitcfgError) or error.errno not in _FULL:
            raise
        _read_by_nobody()
        raise _no_space() from error


def _no_space() -> OutputError:
    return OutputError("No space is left for what is printed.", fix="Make room, or print elsewhere.")


def _read_by_nobody(stream: Any = None) -> None:
    """What is still to be printed, at the end too, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


def table(*columns: str, right: Iterable[str] = (), **options: Any) -> Table:
    """A table without lines, of columns with these titles; those on the right are numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        made.add_column(title, justify="right" if title in right else "left", **options)
    return made


def prints_apart() -> contextlib.AbstractContextManager[object]:
    """What other people's code prints meanwhile is no part of the answer: it goes to the error stream."""
    return contextlib.redirect_stdout(sys.stderr)


@contextlib.contextmanager
def spinner(what: str) -> Iterator[Callable[[str], None]]:
    """Say on a terminal that something takes its time, nothing in a pipe; see also :func:`prints_apart`.

    Yields a function that says what is done now.
    """
    work_begins()
    with contextlib.ExitStack() as stack:
        status = None
        if sys.stderr.isatty():
            status = console(stderr=True).status(line(what))
            stack.callback(status.stop)
            # It turns in a thread of its own, which the system may not give.
            with contextlib.suppress(RuntimeError):
                status.start()
        stack.enter_context(prints_apart())

        def now(doing: str) -> None:
            if status is not None:
                status.update(line(f"{what}: {doing}"))

        yield now


class Command(click.Command):
    """A command: it looks at our variables first; ``--untrusted`` keeps out the working folder's code.

    None ends the process from within, and click's own ends (the help, the version) are not within: whatever
    asks for an end there is other people's code, and its 0 would say that all is well.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return self._invoke(ctx)
        except BaseException as error:
            ends = isinstance(error, click.exceptions.Exit) or not isinstance(error, Exception)
            if not ends or isinstance(error, KeyboardInterrupt):
                raise
            raise BuildError(
                f"Code of the model ended the process: {_call_of(error)}.",
                fix="Take that out of what a model is made of, or raise an error there.",
            ) from error

    def _invoke(self, ctx: click.Context) -> Any:
        from initcfg._stream import check_settings

        check_settings()
        _check_folder()
        if not ctx.params.get("untrusted"):
            return super().invoke(ctx)
        from initcfg._config.files import without_working_folder

        with without_working_folder():
            return super().invoke(ctx)


def _call_of(error: BaseException) -> str:
    from initcfg.values import short

    code = error.exit_code if isinstance(error, click.exceptions.Exit) else getattr(error, "code", None)
    return f"{type(error).__name__}({'' if code is None else short(code)})"


class Group(click.Group):
    """A group whose errors are messages, never tracebacks."""

    command_class = Command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that lacks a character shows its number.
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **kwargs)
            sys.exit(code if isinstance(code, int) else 0)
        except InitcfgError as error:
            _fail(_told(error), error)
        except click.ClickException as error:
            _fail(_misused(error))
        except (click.Abort, KeyboardInterrupt):
            _fail("Interrupted; no file was left half-written.", code=130)
        except BrokenPipeError:
            _read_by_nobody()
            sys.exit(0)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
                # The help, and the version: click prints them.
                _read_by_nobody()
                _fail(str(_no_space()), error)
            _fail(_refused(error) or _unexpected(error), error)
        finally:
            _leaving()


def _leaving() -> None:
    """From when Python begins to end, Ctrl-C is too late: all is written, and nobody could say more."""
    atexit.unregister(_ignore_interrupts)
    atexit.register(_ignore_interrupts)


def _ignore_interrupts() -> None:
    # Only the main thread may say what a signal does.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _fail(message: str, error: Exception | None = None, code: int = 2) -> None:
    if launched_rank() > 0:
        # The first rank tells of any failure, and its end ends the others. It may have ended already.
        time.sleep(_PATIENCE)
    try:
        if error is not None and _asked_for_traceback():
            say("".join(traceback.format_exception(error)), error=True)
        say(message, error=True, head="error: ")
    except OSError:
        # Nobody can be told, and the code says it.
        _read_by_nobody(sys.stderr)
    sys.exit(code)


def _check_folder() -> None:
    """Refuse to work in a folder that is gone: torch's libraries end the process there."""
    try:
        os.getcwd()
    except OSError as error:
        raise OutputError(
            f"The folder that this command works in cannot be found: {error.strerror or error}.",
            fix="Change to another folder.",
        ) from error


def _asked_for_traceback() -> bool:
    from initcfg._stream import flag

    with contextlib.suppress(InitcfgError):
        return flag("INITCFG_TRACEBACK")
    return False


def launched_rank() -> int:
    """The rank of this process, where torchrun started several."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() and os.environ.get("WORLD_SIZE", "1") != "1" else 0


def _misused(error: click.ClickException) -> str:
    """What is wrong with the words of a command line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "initcfg"
    told = shown_lines(error.format_message(), start="  | ")
    return f"{told}\n  {'fix:':13} See '{shown(command)} --help'."


def _told(error: InitcfgError) -> str:
    """An error of ours, and the place in other people's code that it tells of, or came out of."""
    cause, title = error.__cause__, "raised at:"
    place = None if cause is None or isinstance(cause, InitcfgError) else _foreign_place(cause)
    if place is None:
        place, title = _foreign_place(error), "called at:"
    lines = [f"{error}", *([f"  {title:13} {shown(place)}"] if place else [])]
    return "\n".join([*lines, *_causes(cause)])


def _refused(error: Exception) -> str | None:
    """What the system did not give, if that is why a command failed."""
    said = str(error)
    # torch says by a RuntimeError that it gets no memory, and Python that it gets no thread.
    memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if memory or (isinstance(error, RuntimeError) and "can't allocate memory" in said):
        refused, fix = "memory for this", "Free memory, or raise the limit of this process (ulimit -v)"
    elif isinstance(error, RuntimeError) and "can't start new thread" in said:
        refused, fix = "thread for this", "End other processes, or raise the limit of processes (ulimit -u)"
    else:
        return None
    return f"The system gives no {refused}.\n  {'fix:':13} {fix}; no file was left half-written."


def _unexpected(error: Exception) -> str:
    """An error from somebody else's code: what, and where."""
    place = _foreign_place(error)
    frames = traceback.extract_tb(error.__traceback__)
    inner = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    told = shown_lines(f"{type(error).__name__}: {error}", start="  | ")
    lines = [told + (f" ({shown(place or inner)})" if place or inner else "")]
    if place and inner != place and not _is_of(frames[-1].filename, _OURS):
        lines.append(f"  {'raised at:':13} {shown(inner)}")
    lines += _causes(error)
    # How code of a user's own came there, from the outside in.
    for frame in _foreign_frames(error)[-_MOST_FRAMES - 1 : -1]:
        told = f"{frame.filename}:{frame.lineno}, in {frame.name}: {(frame.line or '').strip()}"
        lines.append(f"  {'called from:':13} {shown(told)}")
    return "\n".join([*lines, "  INITCFG_TRACEBACK=1 shows the whole traceback of this unexpected error."])


def _causes(error: BaseException | None) -> list[str]:
    """What an error of somebody else's code came of: libraries often say only what failed in the end."""
    lines: list[str] = []
    while error is not None and len(lines) < _MOST_CAUSES:
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error is None or isinstance(error, InitcfgError):
            break
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        told = shown_lines(f"{type(error).__name__}: {error}", start="  | ")
        lines.append(f"  {'caused by:':13} {told}{shown(place)}")
    return lines


_MOST_FRAMES = 6
_MOST_CAUSES = 3
_OURS = str(Path(__file__).resolve().parents[2])
# What other people's code calls: their frames say less than those of their callers.
_TOOLS = (_OURS, *(str(Path(module.__file__ or "").parent) for module in (click, contextlib)))


def _foreign_place(error: BaseException) -> str | None:
    """File and line of the innermost code that is neither ours, nor torch's, nor Python's own."""
    frames = _foreign_frames(error)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _foreign_frames(error: BaseException) -> list[traceback.FrameSummary]:
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    tools = (*_TOOLS, os.path.dirname(torch)) if torch else _TOOLS
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(_is_of(frame.filename, folder) for folder in tools) and os.path.exists(frame.filename)
    ]


def _is_of(file: str, folder: str) -> bool:
    """Whether a file lies in a folder; packages that are installed below it are others'."""
    inside = os.path.relpath(file, folder) if os.path.isabs(file) else ".."
    return not inside.startswith("..") and "site-packages" not in inside
