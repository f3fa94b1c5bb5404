"""What the tests share: they run the real commands in empty folders against the stand-in."""
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BRIEF, LONG = pytest.mark.brief, pytest.mark.long
LIMIT = 240  # seconds until a run is given up; far more than any needs, as the machine may be busy
ELSEWHERE = {'TZ': 'Pacific/Kiritimati', 'LC_ALL': 'C'}  # where it's tomorrow already
sys.path.insert(0, str(HERE / 'standin'))
from launch import DEFAULTS, SITECUSTOMIZE, StandIn  # noqa: E402

from warm import Warm  # noqa: E402

warm = None  # what most runs are forked from, without --cold
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is switched off


def environment(standin):
    """The environment of a run, the same in all tests but for what they change."""
    return {name: value for name, value in {**standin.environ, **ELSEWHERE}.items() if name[:7] != 'PYTEST_'}


class Folder:
    """An empty folder with copies of the scripts, in which they are run as a user would."""

    cold = False  # whether runs have to start cold

    def __init__(self, path, standin):
        self.path, self.standin = path, standin
        for name in 'chips.py', 'timeseries.py':
            shutil.copy(HERE.parent / name, path)
            # or what fails would take an hour, and the start of 25 processes longer than their work
            self.edit(name, PAUSES=[], PROCESSES=2)
        self.edit('chips.py', SPACING=500)  # a 25th of the pixels that the stand-in looks at

    def edit(self, script, **constants):
        """Gives constants at the top of a script other values."""
        text = (self.path / script).read_text()
        for name, value in constants.items():
            pattern = rf'^{name} = (?:\[[^\]]*\]|[^#\n]*)'
            text, found = re.subn(pattern, lambda _: f'{name} = {value!r}  ', text, count=1, flags=re.M)
            assert found, f'{script} has no constant {name}'
        (self.path / script).write_text(text)
        return self

    def replace(self, script, old, new):
        """Replaces a piece of the text of a script."""
        text = (self.path / script).read_text()
        assert old in text
        (self.path / script).write_text(text.replace(old, new))
        return self

    def add(self, script, code):
        """Adds code to the user's part of a script, as its last lines."""
        text = (self.path / script).read_text()
        before, line, after = text.partition('\n# The machinery')
        assert line
        (self.path / script).write_text(f'{before}\n\n{code}\n{line}{after}')
        return self

    def hook(self, code, cold=False):
        """Has each Python of the run, workers too, run this code when it starts, before the script; cold where
        the code is about what the script imports."""
        self.cold = cold
        (self.path / 'hook').mkdir(exist_ok=True)
        (self.path / 'hook' / 'sitecustomize.py').write_text(SITECUSTOMIZE + code)
        return self

    def environ(self):
        """The environment of a run."""
        environ = environment(self.standin)
        if (self.path / 'hook').exists():
            environ['PYTHONPATH'] = os.pathsep.join(
                filter(None, [str(self.path / 'hook'), environ.get('PYTHONPATH')]))
        return environ

    def start(self, *command, **options):
        """Starts python with this command, in a process group of its own."""
        environ = self.environ()
        plain = command[0].endswith('.py') and not options and not self.cold
        if warm and plain and warm.can_start(environ):
            return warm.start(command, self.path, environ)
        return subprocess.Popen(
            [sys.executable, *command], cwd=self.path, env=environ, text=True, errors='replace',
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options)

    def run(self, *command, status=0, seconds=LIMIT, **options):
        """Runs python with this command, checks the exit status, returns what it printed."""
        child = self.start(*command, **options)
        try:
            out, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        assert child.returncode == status, f'status {child.returncode}, printed:\n{out}\n{err}'
        assert 'Traceback' not in out + err, err
        assert not alive(child.pid), 'processes left behind'
        return out + err

    def files(self, folder):
        """The files of a folder of results, {name: bytes}, without the log and the dot-files."""
        return {str(path.relative_to(self.path / folder)): path.read_bytes()
                for path in (self.path / folder).rglob('*') if path.is_file()
                and path.name != 'log.csv' and not path.name.startswith('.')}

    def log(self, folder):
        """The rows of the log of a folder of results."""
        return self.table(f'{folder}/log.csv')

    def table(self, name):
        """The rows of a CSV as dicts."""
        with open(self.path / name, newline='', encoding='utf-8') as file:
            return list(csv.DictReader(file))


def said(printed):
    """The lines of what a run printed, without the bar and the first, that it signs in and asks."""
    return [line for line in printed.splitlines() if line and not re.search(r'%\|.*\[|^Asking |^Signing ', line)]


def wait_for(condition, run=None):
    """Returns what condition() returns as soon as it is true, or fails, at once if the run ends."""
    end = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < end, 'it does not come'
        assert run is None or run.poll() is None or condition(), run.communicate()
        time.sleep(0.02)
    return found


def hasten(folder):
    """Makes the tries of both scripts follow each other quickly, as a user might."""
    for script in 'chips.py', 'timeseries.py':
        folder.replace(script, 'delay=0.1, backoff=1.6, jitter=(0, 0.5), max_delay=3',
                       'delay=.02, max_delay=.1, jitter=(0, .05)')
    return folder


def alive(group, seconds=60):
    """The processes of a group, as lines of ps, if there still are some that many seconds later."""
    for _ in range(int(seconds * 10)):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return []  # without ps, which takes longer
        listed = subprocess.run(['ps', '-ww', '-eo', 'pgid=,stat=,args='], capture_output=True,
                                text=True, check=True).stdout.splitlines()
        lines = [line for line in listed if line.split()[0] == str(group)
                 and line.split()[1][0] != 'Z']
        if not lines:
            break
        time.sleep(0.1)
    return lines


def pytest_addoption(parser):
    parser.addoption('--long', action='store_true', help='2,000 items for 400, 20 kills for 5, all start methods '
                     'and what is marked as long')
    parser.addoption('--cold', action='store_true', help='start each run as the shell does')
    parser.addoption('--method', default='', choices=['fork', 'forkserver', 'spawn'],
                     help='how multiprocessing starts in all runs but those of tests of just that')


def pytest_configure(config):
    DEFAULTS['start_method'] = config.getoption('--method')
    DEFAULTS['known_only'] = not config.getoption('--cold')  # each start reads what there is, for 0.06 s


def pytest_collection_modifyitems(config, items):
    """Puts first what waits most, or one test would run alone at the end. Leaves out what takes long: forkserver
    starts workers much as spawn does."""
    items.sort(key=lambda item: item.path.stem not in ('test_live', 'test_processes', 'test_faults'))
    if config.getoption('--long'):
        return
    left_out = [item for item in items if item.get_closest_marker('long') or (
        getattr(item, 'callspec', None) and item.callspec.params.get('method') == 'forkserver')]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def long(request):
    """Whether the long versions of some tests are asked for."""
    return request.config.getoption('--long')


@pytest.fixture(scope='session')
def server(request):
    """One stand-in for all tests, and where runs are to start warm, what they start from."""
    global warm
    with StandIn() as standin:
        if request.config.getoption('--cold') or sys.platform != 'linux':  # macOS forbids much in a copy
            yield standin
        else:
            with Warm([HERE.parent / 'chips.py', HERE.parent / 'timeseries.py'], environment(standin)) as warm:
                yield standin


@pytest.fixture
def standin(server):
    """The stand-in with its usual options and its counts at zero."""
    server.set(**DEFAULTS)
    server.reset()
    return server


@pytest.fixture
def folder(tmp_path, standin):
    """An empty folder with the scripts."""
    return Folder(tmp_path, standin)


@pytest.fixture
def new_folder(tmp_path_factory, standin):
    """Makes more such folders."""
    return lambda: Folder(tmp_path_factory.mktemp('folder'), standin)
