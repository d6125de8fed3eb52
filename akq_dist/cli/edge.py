"""The edge of the process: arguments in, exit code out, errors as one message.

Exit codes: 0 ok, 1 a fault of the program, 2 usage, 3 data, 4 too many failed trials,
5 a check failed (look-ahead found, views differ), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

OK: Final = 0
FAULT: Final = 1
USAGE: Final = 2
DATA: Final = 3
TOO_MANY_FAILED: Final = 4
CHECK_FAILED: Final = 5
INTERRUPTED: Final = 130


def run(argv: Sequence[str]) -> int:
    """Run one command; `--debug` anywhere among the arguments shows tracebacks and debug logs."""
    args, debug = _without_debug(argv)
    _set_up_logging(debug)
    try:
        return _call(args)
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone; what is buffered has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        # The only place that turns any exception into an exit code.
        return _explain(error, debug)


def _call(args: Sequence[str]) -> int:
    import typer

    from akq_dist.cli.app import app

    try:
        result: Any = app(args=list(args), prog_name="akq", standalone_mode=False)
    except typer.TyperException as error:
        text = error.format_message()
        context = getattr(error, "ctx", None)
        is_help = type(error).__name__ == "NoArgsIsHelpError"
        hint = f"\nTry '{context.command_path} --help'." if context is not None and not is_help else ""
        _say(f"{text}{hint}" if is_help else f"error: {text}{hint}")
        return error.exit_code
    except typer.Abort:
        _say("interrupted")
        return INTERRUPTED
    return result if isinstance(result, int) else OK


def _explain(error: Exception, debug: bool) -> int:
    """Print what went wrong and return the exit code that belongs to it."""
    from akq_dist.errors import AkqError

    if debug:
        traceback.print_exception(error)
    if isinstance(error, AkqError):
        _say(f"error: {error}")
        return error.exit_code
    # A strategy written in Python passes its own exceptions through, with the frames that say where.
    own = _strategy_frames(error)
    if own:
        _say(f"error: the strategy failed\n{own}")
        return USAGE
    hint = "This is a fault of akq_dist; run again with --debug for the traceback."
    _say(f"error: {type(error).__name__}: {error}\n{hint}")
    return FAULT


def _strategy_frames(error: Exception) -> str:
    """Traceback from the first line of a shipped strategy on; empty where none is involved."""
    walked = list(traceback.walk_tb(error.__traceback__))
    own = [
        ix
        for ix, (frame, _) in enumerate(walked)
        if frame.f_globals.get("__name__", "").startswith("_akq_strategy_")
    ]
    if not own:
        return ""
    frames = traceback.extract_tb(error.__traceback__)[own[0] :]
    return "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)]).rstrip()


def _without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    stop = list(argv).index("--") if "--" in argv else len(argv)
    args = [arg for ix, arg in enumerate(argv) if arg != "--debug" or ix > stop]
    return args, len(args) < len(argv)


def _set_up_logging(debug: bool) -> None:
    import logging

    class ToStderr(logging.Handler):
        """Looks stderr up for every line, so that a live display can take its place."""

        def emit(self, record: logging.LogRecord) -> None:
            _say(self.format(record))

    handler = ToStderr()
    shown = "%(levelname)s %(name)s: %(message)s" if debug else "%(levelname)s: %(message)s"
    handler.setFormatter(logging.Formatter(shown))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])
    if debug:
        return
    # What a library finds experimental or old is no message for the person at the terminal.
    warnings.simplefilter("ignore")
    for name in ("ray", "mlflow", "optuna", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
