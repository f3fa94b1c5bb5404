"""Puts faults into the scripts, one at a time, and tells which the tests don't notice.

    python tests/mutants.py              all of them, which takes an hour
    python tests/mutants.py netrc lock   those whose name has one of these words
    python tests/mutants.py --check      whether each fault can be put in, which takes a second
    python tests/mutants.py --original   with no fault: each test has to pass

A fault names a function (or a constant) and a short piece of its text, which has to be there
exactly once: it survives what is changed around it, and says at once when it is gone. The faults,
in mutants.txt, are those that only people think of; operators and numbers can be tried by a tool.

Run by hand: a test that lets a fault through is to be mended, or the list says why none can notice.
"""
import ast
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
LIMIT = 600  # seconds for the tests of a fault; to hang is no notice, as a busy machine may hang too
SCRIPTS = {'chips': ['chips.py'], 'series': ['timeseries.py'], 'both': ['chips.py', 'timeseries.py']}


class Fault(NamedTuple):
    """A line of mutants.txt and the lines that are indented below it."""
    name: str
    scripts: list
    place: str  # a function, a class with its method (Log.read), or a constant
    old: str
    new: str
    tests: str  # arguments of pytest
    reason: str  # why no test can notice it, or ''


def read_faults():
    """Returns the faults of mutants.txt."""
    faults = []
    for block in re.split(r'\n(?=\S)', Path(__file__).with_suffix('.txt').read_text('utf-8')):
        if block.startswith('#') or not block.strip():
            continue
        head, *lines = block.rstrip().split('\n')
        found = {'by': '', 'but': '', 'to': ''}
        for line in lines:
            key, _, value = line.strip().partition(' ')
            found[key] = value.replace('\\n', '\n')
        name, scripts, place = (part.strip() for part in head.split('|'))
        faults.append(Fault(name, SCRIPTS[scripts], place, found['from'], found['to'], found['by'],
                            found['but']))
    return faults


def spoilt(text, fault):
    """Returns the text of a script with a fault in it; SystemExit where it can't be put in."""
    lines = text.splitlines(keepends=True)
    first, last = extent(ast.parse(text), fault)
    piece = ''.join(lines[first:last])
    count = piece.count(fault.old)
    if count != 1:
        sys.exit(f'{fault.name}: {fault.place} has {fault.old!r} {count} times, not once')
    result = ''.join(lines[:first]) + piece.replace(fault.old, fault.new) + ''.join(lines[last:])
    try:
        ast.parse(result)  # what Python can't read is noticed by any test
    except SyntaxError as error:
        sys.exit(f'{fault.name}: that is no Python ({error})')
    return result


def extent(tree, fault):
    """Returns (first line, line after the last), from 0, of the place of a fault."""
    nodes = tree.body
    for name in fault.place.split('.'):
        named = [node for node in nodes if name in (
            getattr(node, 'name', None), *(part.id for target in getattr(node, 'targets', [])
                                           for part in ast.walk(target)
                                           if isinstance(part, ast.Name)))]
        if not named:
            sys.exit(f'{fault.name}: there is no {fault.place}')
        nodes = getattr(named[-1], 'body', [])
    node = named[-1]
    decorators = [part.lineno for part in getattr(node, 'decorator_list', [])]
    return min([node.lineno, *decorators]) - 1, node.end_lineno


def attempt(fault):
    """Returns how pytest ends with a fault, 0 if it isn't noticed, and the error that it shows."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = shutil.copytree(ROOT, Path(folder, 'copy'),
                               ignore=shutil.ignore_patterns('.git', '__pycache__'))
        if '--original' not in sys.argv:
            for script in fault.scripts:
                text = (copy / script).read_text('utf-8')
                (copy / script).write_text(spoilt(text, fault), 'utf-8')
        command = [sys.executable, '-m', 'pytest', '-x', '-q', '-n', '0', '-p', 'no:cacheprovider',
                   f'--basetemp={folder}/t', *shlex.split(fault.tests)]
        try:
            done = subprocess.run(command, cwd=copy / 'tests', capture_output=True, text=True,
                                  timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return 'timeout', ''
        finally:
            kill_all_in(folder)  # a test that fails may leave its runs behind
        error = re.search('(?m)^E  +(.{,150})', done.stdout)
        return done.returncode, error[1] if error else done.stdout[-300:] + done.stderr[-300:]


def kill_all_in(folder):
    """Kills the processes that were started in a folder."""
    for link in Path('/proc').glob('[0-9]*/cwd'):
        with contextlib.suppress(OSError):
            if os.readlink(link).startswith(folder):
                os.kill(int(link.parent.name), signal.SIGKILL)


def main():
    """Tries the faults that are named, or all, and tells of each and at the end which survived."""
    words = [word for word in sys.argv[1:] if not word.startswith('--')]
    faults = [fault for fault in read_faults()
              if not words or any(word in fault.name for word in words)]
    for fault in faults:  # all at once, so that a list that has aged is mended in one go
        for script in fault.scripts:
            spoilt((ROOT / script).read_text('utf-8'), fault)
    if '--check' in sys.argv:
        print(f'{len(faults)} faults can be put in')
        return
    known = {0: 'SURVIVED', 1: 'noticed', 'timeout': f'NO END in {LIMIT} s'}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `&` in a shell switches Ctrl-C off
    survivors = []
    with ThreadPool(os.cpu_count()) as pool:
        for fault, (status, error) in zip(faults, pool.imap(attempt, faults)):
            print(f'{fault.name}: {known.get(status, "NO SUCH TEST")}: {error}', flush=True)
            if status != 1:
                survivors.append(fault.name + f': accepted, as {fault.reason}' * bool(fault.reason))
    print(f'{len(survivors)} survived:', *survivors, sep='\n')


if __name__ == '__main__':
    main()
