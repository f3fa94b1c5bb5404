"""Run a script against a local stand-in for Google Earth Engine: no account, no network.

    python tests/standin chips.py
    python tests/standin --concurrency 40 --faults 0.05 --latency pixels=0.6 chips.py

The script is run as it is, by this Python, as a child process; its exit status is handed on. The
stand-in is an HTTPS proxy on a free local port, which the script finds through its environment.
What was served is told at the end.
"""
import argparse
import json
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
    result.add_argument('command', nargs=argparse.REMAINDER,
                        help='the script, or another command, and its arguments')
    return result


def run(standin, command):
    """Run command to its end; gives its exit status, as a shell would."""
    # Ctrl-C reaches the child by itself. To ignore it here would be passed on to the child.
    signal.signal(signal.SIGINT, lambda *_: None)
    if command[0].endswith('.py'):
        command = [sys.executable, *command]
    child = subprocess.Popen(command, env=standin.environ)
    for name in {'SIGTERM', 'SIGHUP'} & set(dir(signal)):  # Windows has only the first
        signal.signal(getattr(signal, name), lambda number, _: child.send_signal(number))
    status = child.wait()
    return 128 - status if status < 0 else status


def summary(counts, seconds):
    """The counts in a few lines."""
    kinds = {kind: sum(numbers.values()) for kind, numbers in counts['requests'].items()}
    faults = sum(map(Counter, counts['faults'].values()), Counter())

    def listed(numbers):
        return ', '.join(f'{number} {name}' for name, number in sorted(numbers.items())) or 'none'

    odd = [f'{counts[name]} {words}' for name, words in (
        ('refused_connections', 'refused'), ('refused_by_proxy', 'refused by the proxy'),
        ('broken_tls', 'broken off or shared')) if counts[name]]
    return (
        f"standin: {counts['results']} results for {counts['items_served']} items, "
        f"{counts['bytes'] / 1e6:.1f} MB in {seconds:.1f} s; "
        f"at most {counts['most_at_once']} requests at once, {counts['throttled']} too many\n"
        f"standin: requests: {listed(kinds)}; faults: {listed(faults)}\n"
        f"standin: {', '.join([str(counts['connections']) + ' connections', *odd])}, "
        f"{counts['failed_handshakes']} failed handshakes\n"
        'standin: its only project is the one of its sign-in: leave PROJECT as None here\n'
        'standin: these results are made up, of South America and Colorado only; delete them '
        'before you fetch real ones')


def main():
    """Start, run, report."""
    options = vars(parser().parse_args())
    report, command = options.pop('report'), options.pop('command', None)
    if not command:
        parser().error('give a script to run')
    try:
        standin = StandIn(**options)
    except ValueError as problem:
        parser().error(str(problem))
    with standin:
        start = time.monotonic()
        status = run(standin, command)
        seconds, counts = time.monotonic() - start, standin.counts()
    print(summary(counts, seconds), file=sys.stderr)
    if report:
        Path(report).write_text(json.dumps(counts), encoding='utf-8')
    return status


if __name__ == '__main__':
    sys.exit(main())
