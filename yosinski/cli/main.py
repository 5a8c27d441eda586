"""The command line. Exit status: 0 done, 1 error while running, 2 bad input, 130 Ctrl-C."""

import argparse
import io
import sys
from collections.abc import Sequence
from itertools import chain

import yosinski
from yosinski.cli import cluster, data, decide, local, networks, predict, records
from yosinski.data.reading import one_reading
from yosinski.errors import BadInput, Failure
from yosinski.records import specs

MODULES = (local, decide, cluster, records, networks, predict, data)  # in the order of the help
GROUPS = {"data": data.ABOUT}


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors are one line on stderr unless --debug."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may not be UTF-8
    words = sys.argv[1:] if argv is None else argv
    options = parser(words).parse_args(words)
    if getattr(options, "runs", None) is not None:
        specs.know_networks(options.runs)  # so that their names work even if the files are gone or have changed
    try:
        with one_reading(getattr(options, "stores", None), lambda line: print(f"yosinski: {line}", file=sys.stderr)):
            return options.command(options) or 0
    except BadInput as error:
        status, message = 2, str(error)
        if options.debug:
            raise
    except Failure as error:
        status, message = 1, str(error)
        if options.debug:
            raise
    except KeyboardInterrupt:
        status, message = 130, "stopped; the same command goes on"
    except BrokenPipeError:
        return 1
    except Exception as error:
        status, message = 1, f"{type(error).__name__}: {error} (--debug shows where)"
        if options.debug:
            raise
    print(f"yosinski: {message}", file=sys.stderr)
    return status


def parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser with all commands. Only the command in `words` gets its options: loading all of them takes long."""
    top = argparse.ArgumentParser(prog="yosinski", description=(yosinski.__doc__ or "").partition("\n")[0])
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    among = {"": commands}
    for name, help, run, options in chain.from_iterable(module.COMMANDS for module in MODULES):
        group, _, word = name.rpartition(" ")
        if group not in among:
            parent = commands.add_parser(group, help=GROUPS[group], description=GROUPS[group])
            among[group] = parent.add_subparsers(title="commands", metavar="COMMAND", required=True)
        sub = among[group].add_parser(word, help=help, description=help)
        sub.set_defaults(command=run)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        if word in words:
            options(sub)
    return top
