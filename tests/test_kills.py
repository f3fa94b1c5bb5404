"""Kills before and after each step of writing: the next run completes the folder, byte for byte."""
import shutil
import signal
import time

import pytest

from conftest import BRIEF, DEFAULTS, LIMIT, LONG, Folder, alive
from test_chips import write_points

# Read when a Python starts, behind a line that gives file, call, turn, moment and turns their values.
KILL = '''
import fnmatch, os, sys


def opened(event, arguments):
    """Looks at each call from when such a file is opened for writing until another one is."""
    if event == 'open' and str(arguments[1])[0] in 'wa':
        sys.setprofile(called if fnmatch.fnmatch(os.path.basename(str(arguments[0])), file) else None)


def called(frame, event, function):
    """Kills all processes of the run at the turn-th such call of all of them."""
    if event == moment and function.__name__ == call and not isinstance(function.__self__, str):
        number = os.open(turns, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(number, b'.')
        if os.lseek(number, 0, os.SEEK_CUR) == turn:
            os.killpg(0, 9)
        os.close(number)


sys.addaudithook(opened)
'''
SCRIPTS = {'chips.py': dict(SIZE=8, PROCESSES=2),
           'timeseries.py': dict(COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-02-01', PROCESSES=3)}
WITH_IMAGE, IN_ALL = {'chips.py': 6, 'timeseries.py': 12}, {'chips.py': 8, 'timeseries.py': 12}
RESULT = {'chips.py': '.part-*.png', 'timeseries.py': '.part-*-[0-9]*.csv'}
LIST, ROW = '.part-*-.list.json', 'log.csv'
# script, file, call while it is open or renamed, its how manieth
POINTS = [
    *(('chips.py', RESULT['chips.py'], call, turn) for call, turn in (
        ('write', 1), ('fsync', 1), ('fsync', 5), ('replace', 1))),
    pytest.param('chips.py', RESULT['chips.py'], 'replace', 5, marks=BRIEF),
    *(('chips.py', LIST, call, 1) for call in ('write', 'fsync')),
    pytest.param('chips.py', LIST, 'replace', 1, marks=BRIEF),
    ('chips.py', '.part-*-chips.csv', 'write', 1),
    ('chips.py', '.part-*-chips.csv', 'replace', 1),  # after it the first item begins
    ('chips.py', ROW, '__exit__', 1),  # it writes the row
    pytest.param('chips.py', ROW, '__exit__', 6, marks=BRIEF),
    pytest.param('timeseries.py', RESULT['timeseries.py'], 'fsync', 5, marks=BRIEF),
    ('timeseries.py', LIST, 'replace', 1), ('timeseries.py', ROW, '__exit__', 8),
]


def ready(folder, script):
    """Gives a script few small items; two of the chips have no image."""
    if script == 'chips.py':
        write_points(folder, *((-105.24 - n / 10, 40.03) for n in range(6)), (10, 45), (11, 46))
    return folder.edit(script, **SCRIPTS[script])


def wait_for_quiet(standin):
    """Waits until the service has done what a run that was killed had asked for."""
    time.sleep(0.2)  # it is written down ten times a second
    while standin.counts()['history'][-1][1]:
        time.sleep(0.05)


@pytest.fixture(scope='module')
def calm(server, tmp_path_factory):
    """The files of runs that nothing disturbs."""
    server.set(**DEFAULTS)
    found = {}
    for script in SCRIPTS:
        folder = ready(Folder(tmp_path_factory.mktemp('calm'), server), script)
        folder.run(script)
        found[script] = folder.files(script.removesuffix('.py'))
        assert len(found[script]) == WITH_IMAGE[script] + 1
    return found


@pytest.mark.parametrize('moment', ['before', pytest.param('after', marks=LONG)])
@pytest.mark.parametrize('script,file,call,turn', POINTS)
def test_killed_at_a_step(folder, calm, standin, script, file, call, turn, moment):
    name, turns = script.removesuffix('.py'), folder.path / 'turns'
    ready(folder, script)
    moment = {'before': 'c_call', 'after': 'c_return'}[moment]
    folder.hook(f'file, call, turn, moment, turns = {(file, call, turn, moment, str(turns))}\n{KILL}')
    run = folder.start(script)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == -signal.SIGKILL and not alive(run.pid), out + err
    there = {path.name for path in (folder.path / name).iterdir()}
    came = set(folder.files(name)) - {f'{name}.csv', 'regions.csv'}
    if file.startswith('.part'):  # it was killed where it should be
        assert any(part.startswith('.part') for part in there) or (call, moment) == ('replace', 'c_return')
        assert len(came) >= turn - SCRIPTS[script]['PROCESSES']  # each process may have one in work
    # a folder with no result binds nobody, also not by what had nothing
    nothing = {row['file'] for row in folder.log(name) if row['outcome'] == 'nothing'} if came else set()

    shutil.rmtree(folder.path / 'hook')
    wait_for_quiet(standin)
    standin.reset()
    printed = folder.run(script)
    assert f'{WITH_IMAGE[script]} of {IN_ALL[script]} are in {name}' in printed
    assert folder.files(name) == calm[script]
    assert {path.name for path in (folder.path / name).iterdir()} - {f'.{script}'} == {
        *calm[script], 'log.csv', '.lock', '.list.json'}
    assert list(folder.log(name)[0]) == ['time', 'file', 'outcome', 'why']
    counts = standin.counts()
    assert counts['results'] == WITH_IMAGE[script] - len(came)
    assert sum(counts['requests']['create'].values()) == IN_ALL[script] - len(came) - len(nothing)
    assert ('compute' in counts['requests']) == (not came)  # the list, until something has come of it


def test_a_worker_that_is_killed_right_after_a_result(folder):
    """The row that says so is added, as the file is there; it's not asked for again."""
    ready(folder, 'chips.py').edit('chips.py', PAUSES=[0] * 9)
    values = (RESULT['chips.py'], 'replace', 2, 'c_return', str(folder.path / 'turns'))
    folder.hook(f'file, call, turn, moment, turns = {values}\n'
                + KILL.replace('os.killpg(0, 9)', 'os.kill(os.getpid(), 9)'))
    printed = folder.run('chips.py')
    assert 'A process was killed' in printed and '6 of 8' in printed
    assert {row['file'] for row in folder.log('chips') if row['outcome'] == 'done'} == {
        *folder.files('chips')} - {'chips.csv'}


def test_a_run_begins_with_no_part_of_another(folder, standin):
    """Also where no item has its name any more; but a folder within may be that of another run."""
    ready(folder, 'chips.py').run('chips.py')
    (folder.path / 'chips' / '2019').mkdir()
    parts = [folder.path / 'chips' / name for name in ('.part-7-old.tif', '2019/.part-7-old.tif')]
    for part in parts:
        part.touch()
    folder.run('chips.py')
    assert [part.exists() for part in parts] == [False, True]
