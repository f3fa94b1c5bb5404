"""Run a script against a local stand-in for Google Earth Engine: no account, no network.

    python tests/standin chips.py
    python tests/standin --concurrency 40 --faults 0.05 --latency pixels=0.6 chips.py

The script is run as it is, by this Python, as a child process; its exit status is handed on. The
stand-in is an HTTPS proxy on a free local port, which the script finds through its environment.
What was served is told at the end. With --serve no script is run, and the environment is printed.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from launch import OPTIONS, StandIn


def parser():
    """The command line."""
    result = argparse.ArgumentParser(
        prog='python tests/standin', usage='%(prog)s [options] script.py [arguments of the script]',
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for title, options in OPTIONS.items():
        group = result.add_argument_group(title)
        for name, default, metavar, text in options:
            if metavar is None:
                group.add_argument(f'--{name}', action='store_true', help=text)
            else:
                told = f' (default: {default})' if default not in ('', 0, -1) else ''
                group.add_argument(f'--{name}', type=type(default), metavar=metavar,
                                   help=text + told)
    result.add_argument('--report', metavar='FILE', default=None,
                        help='write all counts to FILE, as JSON')
    result.add_argument('--serve', action='store_true', default=False,
                        help='only serve, until interrupted')
    result.add_argument('command', nargs=argparse.REMAINDER, default=None,
                        help='the script, or another command, and its arguments')
    return result


def run(standin, command):
    """Run command to its end; gives its exit status, as a shell would."""
    child = None

    def forward(number, _):
        if child:
            child.send_signal(number)

    # Ctrl-C reaches the child by itself. To ignore it here would be passed on to the child.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGHUP, forward)
    if command[0].endswith('.py'):
        command = [sys.executable, *command]
    child = subprocess.Popen(command, env=standin.environ)
    status = child.wait()
    return 128 - status if status < 0 else status


def serve(standin):
    """Print what a shell has to set for a script to find the stand-in; wait for a signal."""
    for name, value in standin.changes().items():
        print(f'unset {name}' if value is None else f'export {name}={shlex.quote(value)}')
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        return 0


def summary(counts, seconds):
    """The counts in three lines."""
    kinds = {kind: sum(numbers.values()) for kind, numbers in counts['requests'].items()}
    faults = sum(map(Counter, counts['faults'].values()), Counter())

    def listed(numbers):
        return ', '.join(f'{number} {name}' for name, number in sorted(numbers.items())) or 'none'

    return (
        f"standin: {counts['results']} results for {counts['items_served']} items, "
        f"{counts['bytes'] / 1e6:.1f} MB in {seconds:.1f} s; "
        f"at most {counts['most_at_once']} requests at once, {counts['throttled']} too many\n"
        f"standin: requests: {listed(kinds)}; faults: {listed(faults)}\n"
        f"standin: {counts['connections']} connections, {counts['refused_connections']} refused, "
        f"{counts['failed_handshakes']} failed handshakes, {counts['broken_tls']} broken by two "
        f"talking at once; {counts['tokens']} tokens")


def main():
    """Start, run, report."""
    options = vars(parser().parse_args())
    report, serving, command = (options.pop(name) for name in ('report', 'serve', 'command'))
    if serving == bool(command):
        parser().error('give a script to run, or --serve')
    try:
        standin = StandIn(**options)
    except ValueError as problem:
        parser().error(str(problem))
    with standin:
        start = time.monotonic()
        status = serve(standin) if serving else run(standin, command)
        seconds, counts = time.monotonic() - start, standin.counts()
    print(summary(counts, seconds), file=sys.stderr)
    if report:
        Path(report).write_text(json.dumps(counts), encoding='utf-8')
    return status


if __name__ == '__main__':
    sys.exit(main())
