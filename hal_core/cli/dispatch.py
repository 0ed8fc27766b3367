"""Which command is which module, and the wall around them: whatever happens, a person sees lines, not a traceback.

A command's module has `configure(parser)` and `run(console, arguments) -> exit code`, or `run_words(console, words)` if
it reads its command line itself. It is imported only when its command is called.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from hal_core.cli.console import Console
from hal_core.cli.formats import local_times
from hal_core.cli.usage import UsageError
from hal_core.client.transport import NoAnswer, Rejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal_core.cli.arguments import Parser

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Jobs": {
        "submit": ("submit", "Submit a script or a command; prints the job's id"),
        "run": ("run", "Run a command as a job: output on this terminal, exit code of the job"),
        "alloc": ("alloc", "Hold an allocation while a shell or a command runs here"),
        "queue": ("queue", "List running and waiting jobs, with the reason why they wait"),
        "show": ("show", "Show everything about a job or an array element"),
        "explain": ("explain", "Say why a job waits, when it would start, and what would start it sooner"),
        "predict": ("predict", "Say how long a job would run and when it would start; submit nothing"),
        "watch": ("watch", "Tell what happens to a job until it ends, or to all of mine"),
        "logs": ("logs", "Print a job's output; -f follows it until the job ends"),
        "cancel": ("control", "Cancel jobs or array elements"),
        "hold": ("control", "Keep waiting jobs from starting"),
        "release": ("control", "Let held jobs start"),
        "requeue": ("control", "End the running attempt, if any, and queue the job again"),
        "suspend": ("control", "Let running jobs stand still, and others use their CPUs (operators)"),
        "resume": ("control", "Let suspended jobs go on, as soon as their CPUs are free (operators)"),
        "priority": ("control", "Set a job's priority (larger is earlier; users may only lower it)"),
        "receipt": ("receipt", "Show what a job waited for, used and cost; without a job, sums"),
        "history": ("history", "List how jobs ended, latest first"),
    },
    "Sessions": {
        "map": ("map", "Run a command for each line of the input, through resident workers"),
        "sessions": ("sessions", "List your sessions: workers, tasks, rate, time left"),
        "session": ("sessions", "Show, drain or cancel sessions"),
    },
    "Data": {
        "data": ("data", "List datasets; add, show, pin, evict and remove them; say where they are"),
    },
    "Cluster": {
        "status": ("about", "Show the cluster at a glance"),
        "top": ("top", "Watch the cluster and its queue, live in place"),
        "nodes": ("nodes", "List nodes; show, drain or resume them"),
        "reserve": ("reserve", "Keep nodes for users, accounts or maintenance; list and remove reservations"),
        "limits": ("shares", "Show the limits on jobs, and how much of each is in force"),
        "shares": ("shares", "Show who shares the cluster, by how much, and what each has used"),
        "tune": ("tune", "Show which policy is in force, what HAL changed by itself, and why"),
        "page": ("page", "Print the address of the web page, with a token for it"),
        "cloud": (
            "cloud",
            "List what clouds offer and have running; show, stop and resume the pools that rent of them",
        ),
        "events": ("events", "Print the newest events of the log; --after 0 prints all, -f goes on"),
        "plugins": ("plugins", "List the daemon's plugins and which planes they serve; --here: of this environment"),
        "plugin": ("plugin", "Begin a new plugin; try out one that is installed"),
        "config": ("config", "Check or show a configuration; print its JSON Schema"),
        "token": ("token", "Make a token for using HAL from another machine"),
        "doctor": ("doctor", "Check this machine and the daemon; say what to repair and how"),
    },
    "Services": {
        "dev": ("services", "Start a whole cluster on this machine, for trying things out"),
        "demo": ("services", "Start a cluster, run jobs of every kind on it, and sum up"),
        "daemon": ("services", "Start the controller of a cluster"),
        "agent": ("agents", "Start a node's agent; let a node join (token, enroll), or no more (revoke)"),
        "ca": ("authority", "Make the certificate authority for agents on other machines"),
    },
    "What if": {
        "simulate": ("simulate", "Replay a trace: what would another policy have done?"),
        "replay": ("simulate", "The same; --verify repeats every decision of HAL's own journal"),
        "shadow": ("shadow", "Follow another scheduler and change nothing there: what would HAL have done?"),
        "train": ("train", "Let a predictor learn run times from a history, before the first job"),
    },
    "Moving in": {
        "import": ("importing", "Turn Slurm's configuration into HAL's; say what could not be kept"),
    },
    "Shell": {
        "completion": ("completion", "Print the completion script for bash, zsh or fish"),
        "man": ("manual", "Print the manual page of a command; --output writes all of them"),
    },
}
HIDDEN = {"_complete": ("complete", "Words that can follow, for the completion scripts")}
INTERRUPTED = 130
PIPE_CLOSED = 141
"""128 + SIGPIPE: what a shell reports for any program whose reader went away."""


def run_command(words: Sequence[str]) -> int:
    """Run one command. Returns the exit code; never raises."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    console = Console(os.environ)
    try:
        code = call(console, list(words))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        silence_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        console.progress("")
        return INTERRUPTED
    except SystemExit as leaving:  # argparse has printed the help
        return leaving.code if isinstance(leaving.code, int) else 1
    except Exception as error:  # noqa: BLE001  the outermost wall
        return report(console, error)
    finally:
        console.close()


def call(console: Console, words: list[str]) -> int:
    for word in words:
        insist_on_text(word)
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[1] in all_commands():
            return call(console, [words[1], "--help"])
        print_help(console)
        return 0 if words else 2
    name, *rest = words
    known = all_commands() | HIDDEN
    if name not in known:
        from hal_core.errors import did_you_mean

        raise UsageError(f"{name!r} is not a command{did_you_mean(name, all_commands())}; see `hal --help`")
    module = importlib.import_module(f"hal_core.cli.{known[name][0]}")
    if hasattr(module, "run_words"):
        return int(module.run_words(console, rest))
    return int(module.run(console, command_parser(name).parse(rest)))


def insist_on_text(word: str) -> None:
    """A word that no program could have been given is told once, and not wherever a file of that name is opened."""
    try:
        is_text = b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise UsageError(f"{word!r} has characters that no word of a command line can have")


def command_parser(name: str) -> Parser:
    """The parser of one command, as its module configures it."""
    from hal_core.cli.arguments import Parser

    module_name, summary = (all_commands() | HIDDEN)[name]
    module = importlib.import_module(f"hal_core.cli.{module_name}")
    parser = Parser(name, summary, getattr(module, "USAGES", {}).get(name))
    parser.set_defaults(command=name)
    module.configure(parser)
    return parser


def all_commands() -> dict[str, tuple[str, str]]:
    return {name: entry for group in COMMANDS.values() for name, entry in group.items()}


def print_help(console: Console) -> None:
    console.line("Usage: hal COMMAND [OPTIONS] [ARGUMENTS]   (hal COMMAND --help explains one)")
    for group, commands in COMMANDS.items():
        console.line()
        console.line(group, "bold")
        for name, (_, summary) in commands.items():
            console.line(f"  {name:<11} {summary}")
    console.line()
    console.line("The daemon is found by HAL_SERVER, else $XDG_RUNTIME_DIR, else $HOME, else /run/hal/hal.sock.")


def report(console: Console, error: Exception) -> int:
    """Tell what went wrong, one line for each problem, and return the exit code."""
    if isinstance(error, UsageError):
        console.note(str(error))
        return 2
    if isinstance(error, Rejected):
        lines = [f"{place}: {text}" if place else text for place, text in error.problems]
        console.note("\n".join(lines) or local_times(str(error)))
    elif isinstance(error, NoAnswer):
        console.note(str(error))
    elif isinstance(error, KeyError):
        console.note(f"the daemon's answer has no {error}: is it another version than this command? see `hal doctor`")
    elif isinstance(error, OSError):
        console.note(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        silence_stdout()
    else:
        from hal_core.errors import HalError, PluginError

        if not isinstance(error, HalError):
            console.note(f"a bug in hal: {type(error).__name__}: {error} (HAL_DEBUG=1 shows where)")
        else:
            where = " (HAL_DEBUG=1 shows where)" if isinstance(error, PluginError) and error.__cause__ else ""
            console.note(f"{error}{where}")
        if os.environ.get("HAL_DEBUG") and (error.__cause__ or not isinstance(error, HalError)):
            raise error
    return 1


def silence_stdout() -> None:
    """What is still buffered cannot be written: keep the interpreter from trying, and complaining, at its end."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
