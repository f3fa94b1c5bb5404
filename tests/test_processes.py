"""Kills, Ctrl-C and two runs at once: the next run completes the folder, byte for byte."""
import collections
import contextlib
import datetime
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from conftest import BRIEF, DEFAULTS, LIMIT, LONG, Folder, alive, said, wait_for

CHIPS = dict(POINTS_PER_ECOREGION=30, SIZE=32, PROCESSES=4)
SLOW = dict(POINTS_PER_ECOREGION=50, SIZE=8, PROCESSES=3)
METHODS = pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
# where workers that are started in another way need no more than to be seen once
FORK_FIRST = pytest.mark.parametrize('method', ['fork', 'forkserver', pytest.param('spawn', marks=LONG)])
SIGNALS = pytest.mark.parametrize('number,status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
                                  ids=['ctrl-c', 'sigterm'])
WRAP = '''
fetched = getResult


def getResult(index, item):
    """Does something else first."""
    {}
    return fetched(index, item)
'''
# Read when a Python starts: a round counts as stuck after a tenth of the time, as each look at it,
# said to be half a second, is a twentieth.
SOON_STUCK = '''
import multiprocessing.pool
wait = multiprocessing.pool.ApplyResult.wait
multiprocessing.pool.ApplyResult.wait = lambda self, timeout: wait(self, timeout / 10)
'''


def first_do(folder, *lines):
    """Has getResult() of chips.py begin with these lines; index and item are what it got."""
    return folder.add('chips.py', WRAP.format('\n    '.join(lines)))


def chips_in(folder, name='chips'):
    """The chips that are there, whole."""
    return [path for path in (folder.path / name).glob('*.png') if not path.name.startswith('.')]


def wait_for_files(run, folder, number, name='chips'):
    """Waits until a run has that many results, or fails if it ends before."""
    wait_for(lambda: len(chips_in(folder, name)) >= number, run)


def workers(run, standin):
    """The processes that do the work of a run: not those that start or track them, which show
    themselves as their parent at first."""
    def children(pid, words):
        listed = subprocess.run(['pgrep', '-aP', str(pid)], capture_output=True, text=True).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if words in line]
    method = standin.options['start_method'] or multiprocessing.get_start_method()
    if method == 'forkserver':
        return [pid for server in children(run.pid, 'forkserver') for pid in children(server, '')]
    return children(run.pid, 'spawn_main' if method == 'spawn' else '')


def interrupt(run, number):
    """Ctrl-C reaches all processes of a terminal's foreground, SIGTERM the one that is meant."""
    (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)


@pytest.fixture(scope='module')
def calm(server, tmp_path_factory):
    """The files of a run that nothing disturbs."""
    server.set(**DEFAULTS)
    folder = Folder(tmp_path_factory.mktemp('calm'), server)
    folder.edit('chips.py', **CHIPS).run('chips.py')
    return folder.files('chips')


@BRIEF
@FORK_FIRST
def test_killed_worker(folder, calm, standin, method):
    standin.set(latency='0.05', start_method=method)
    run = folder.edit('chips.py', **CHIPS).start('chips.py')
    wait_for_files(run, folder, 5)
    standin.set(latency='pixels=600')  # so that it isn't done before
    os.kill(random.choice(workers(run, standin)), signal.SIGKILL)
    standin.set(latency='')
    out, err = run.communicate(timeout=LIMIT)
    assert 'Traceback' not in err and not alive(run.pid)
    assert run.returncode == 0 and err.count('A process was killed') == 1
    assert folder.files('chips') == calm


@FORK_FIRST
def test_items_that_kill_their_process_come_last_and_are_left_after_two_kills(folder, standin, method):
    """Each after another time, beyond its first second: they are seldom killed together. The others
    are not done before."""
    standin.set(start_method=method, latency='pixels=0.3')
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=2, PAUSES=[0] * 20)
    first_do(folder, "if index in (7, 8) and not os.path.exists('mended'):",
             '    time.sleep(2 * (index - 6))', '    os.kill(os.getpid(), 9)')
    printed = folder.run('chips.py', status=1)
    assert '18 of 20' in printed and '2 failed: its process was killed twice' in printed
    assert all(f'chip_0000{n}.png' in printed for n in (7, 8))
    begun = [row['file'] for row in folder.log('chips') if row['outcome'] == 'begun']
    killers = [f'chip_0000{n}.png' for n in (7, 8)]
    assert sorted(row['file'] for row in folder.log('chips') if row['outcome'] == 'failed') == killers
    for file in killers:
        last = max(place for place, name in enumerate(begun) if name == file)
        assert len({*begun[:last]} - {*killers}) > 13  # of 18, a few of which may be in work
    (folder.path / 'mended').touch()
    assert '20 of 20' in folder.run('chips.py')


def test_one_process_and_an_item_that_kills_it(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=1)
    first_do(folder, 'index == 7 and (time.sleep(2), os.kill(os.getpid(), 9))')
    printed = folder.run('chips.py', status=1)
    assert '19 of 20' in printed and '1 failed: its process was killed twice' in printed
    begun = [row['file'] for row in folder.log('chips') if row['outcome'] == 'begun']
    assert begun.count('chip_00007.png') == 2


@FORK_FIRST
def test_items_whose_processes_are_killed_from_outside_do_not_fail(folder, standin, method):
    """Two of them twice, as soon as they are begun: that is not their doing."""
    standin.set(start_method=method, latency='create=1.5')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2, PAUSES=[0] * 40)
    run, begun = folder.start('chips.py'), 0

    def blamed():
        return collections.Counter(row[1] for row in read_log(folder) if row[3] == 'its process was killed')
    while [*blamed().values()].count(2) < 2:
        new = wait_for(lambda: [row for row in read_log(folder) if row[2] == 'begun'][begun:], run)
        _, file, _, worker = new[0]
        begun, before = begun + 1, blamed()[file]
        if before < 2 and int(worker) in workers(run, standin):
            with contextlib.suppress(ProcessLookupError):  # its round has been broken off
                os.kill(int(worker), signal.SIGKILL)
                wait_for(lambda: blamed()[file] > before, run)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '4 of 4' in err and not alive(run.pid), err
    assert not [row for row in folder.log('chips') if row['outcome'] == 'failed']


def read_log(folder):
    """The rows of a log that is being written, as lists, without half a row at its end."""
    path = folder.path / 'chips' / 'log.csv'
    lines = path.read_text().split('\n')[1:-1] if path.exists() else []
    return [line.split(',', 3) for line in lines if line.count(',') > 2]


def test_rounds_that_only_kill_go_on_twice_at_once_and_then_pause(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2, PAUSES=[0, 0])
    first_do(folder, 'os.kill(os.getpid(), 9)')
    lines = said(folder.run('chips.py', status=1))
    killed, pause = ['A process was killed', 'Nothing came in this round']
    begun = [line[:len(killed)] if line.startswith(killed) else line[:len(pause)] for line in lines]
    assert begun[:7] == [killed, killed, killed, pause, killed, pause, killed]
    assert lines[7].startswith('0 of 4 are in chips') and 'failed' not in ' '.join(lines)
    again = [re.fullmatch(r'(\d) again: .*', line) for line in lines]  # killed, or in work then, or not yet
    assert sum(int(line[1]) for line in again if line) == 4, "\n".join(lines)


@BRIEF
@METHODS
def test_a_worker_killed_before_it_does_anything(folder, standin, method, long):
    """At random moments of the first 80 ms, in which it may hold a lock that all wait for, for
    DEADLINE and a minute."""
    standin.set(start_method=method, latency='0.2')
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, PROCESSES=3, DEADLINE=2, PAUSES=[0] * 9)
    dice = random.Random(5)
    folder.run('chips.py')
    for _ in range(15 if long else 1):
        for path in chips_in(folder):
            path.unlink()
        run = folder.start('chips.py')
        while not (found := workers(run, standin)):
            assert run.poll() is None
        time.sleep(dice.uniform(0, 0.08))
        os.kill(found[0], signal.SIGKILL)
        out, err = run.communicate(timeout=LIMIT)
        assert run.returncode == 0, err
        assert '8 of 8' in err and 'Traceback' not in err and not alive(run.pid)


def test_a_round_that_is_stuck_is_begun_anew(folder, standin):
    """A stopped process shows no sign of life for DEADLINE and a minute, here 6 s."""
    standin.set(latency='0.05')
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=2, DEADLINE=1, PAUSES=[0] * 9)
    run = folder.hook(SOON_STUCK).start('chips.py')
    wait_for_files(run, folder, 3)
    os.kill(workers(run, standin)[0], signal.SIGSTOP)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '20 of 20' in err and 'is stuck' in err and not alive(run.pid)


def test_an_item_of_many_requests_is_not_taken_for_stuck(folder, standin):
    """Each request is a sign of life, also where nothing is logged for long: 10 s of 6."""
    standin.set(latency='compute=1')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, DEADLINE=2).hook(SOON_STUCK)
    first_do(folder, 'for number in range(10 * (not index)):', '    ee.Number(number).getInfo()')
    printed = folder.run('chips.py')
    assert '4 of 4' in printed and 'stuck' not in printed


def test_an_item_that_is_quiet_for_most_of_the_time_is_not_stuck(folder):
    """For 4.5 s of 6."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, DEADLINE=1).hook(SOON_STUCK)
    first_do(folder, 'time.sleep(4.5)')
    assert 'stuck' not in folder.run('chips.py', '--first', '1')


def test_no_item_waits_for_a_slow_one(folder):
    """The first of all goes on when the other process has done the rest."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=2)
    first_do(folder, 'with contextlib.suppress(FileExistsError):',
             "    open('begun', 'x').close()",
             '    end = time.monotonic() + 100',  # sooner than it is taken for stuck
             "    while len([*folder.glob('*.png')]) < 39:",
             "        check(time.monotonic() < end, 'The others wait.')",
             '        time.sleep(0.1)')
    assert '40 of 40' in folder.run('chips.py')


@BRIEF
@METHODS
@SIGNALS
def test_ctrl_c_and_sigterm(folder, standin, method, number, status):
    """It counts what is there when its workers have ended, in the midst of results."""
    standin.set(latency='pixels=0.1', start_method=method)
    run = folder.edit('chips.py', **SLOW).start('chips.py')
    wait_for_files(run, folder, 1)
    interrupt(run, number)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == status and not alive(run.pid)
    assert said(err) == [f'Stopped: {len(chips_in(folder))} of 200 are there. Run it again to go on.']
    assert len(chips_in(folder)) < 200
    # no other worker begins with anything in place of those that are ended
    assert len({row['why'] for row in folder.log('chips') if row['outcome'] == 'begun'}) <= SLOW['PROCESSES']


def test_nothing_comes_any_more_when_the_results_have_been_counted(folder, standin):
    """Though the terminal takes a second for the line."""
    standin.set(latency='pixels=0.05')
    folder.edit('chips.py', **SLOW).hook('''
import builtins, time
whole = print


def slow(*words, **options):
    time.sleep(1)
    whole(*words, **options)


builtins.print = slow
''')
    run = folder.start('chips.py')
    wait_for_files(run, folder, 1)
    interrupt(run, signal.SIGINT)
    out, err = run.communicate(timeout=LIMIT)
    assert said(err) == [f'Stopped: {len(chips_in(folder))} of 200 are there. Run it again to go on.']


@METHODS
@SIGNALS
def test_one_signal_while_the_workers_start_is_enough(folder, standin, method, number, status, long):
    """At moments that are found by when the log begins, just before the workers."""
    standin.set(start_method=method, latency='create=600')
    folder.edit('chips.py', **SLOW)
    dice = random.Random(3)
    for delay in [0, 0.05, 0.3, *(dice.uniform(0, 1.5) for _ in range(20 * long))]:
        run = folder.start('chips.py')
        wait_for((folder.path / 'chips' / 'log.csv').exists, run)
        time.sleep(delay)
        interrupt(run, number)
        out, err = run.communicate(timeout=LIMIT)
        assert not alive(run.pid) and run.returncode == status
        line, = said(err)  # the list may not have been read yet
        assert re.fullmatch(r'Stopped(: 0 of 200 are there)?\. Run it again to go on\.', line)
        for path in (folder.path / 'chips').iterdir():
            path.unlink()


# Read when a Python starts: a signal to the process itself when something happens in it.
AT_EVENT = '''
import fnmatch, os


def happened(event, arguments):
    """Sends the signal, once, not in workers."""
    if event == {event!r} and fnmatch.fnmatch(str(arguments[0] if arguments else ''), {what!r}):
        try:
            open('sent', 'x').close()
        except FileExistsError:
            return
        os.kill(os.getpid(), {number})


import sys
sys.addaudithook(happened)
'''


@SIGNALS
@pytest.mark.parametrize('module', ['ee', 'googleapiclient.discovery', 'pathvalidate', 'tqdm'])
def test_a_signal_in_the_first_second(folder, module, number, status):
    """While modules are imported: Ctrl-C gives one line, SIGTERM ends it as it ends any program."""
    folder.hook(AT_EVENT.format(event='import', what=module, number=int(number)), cold=True)
    run = folder.start('chips.py')
    out, err = run.communicate(timeout=LIMIT)
    assert (folder.path / 'sent').exists()
    assert run.returncode in (-number, status) and 'Traceback' not in err
    assert [line.endswith('Stopped.') for line in said(err)] == [True] * (number == signal.SIGINT)


@SIGNALS
@pytest.mark.parametrize('event,what', [
    ('open', '*.lock'), ('open', '*.part-*list.json'), ('os.rename', '*list.json'),
    ('open', '*log.csv'), ('os.fork', '*')], ids=['lock', 'list opened', 'list renamed', 'log', 'fork'])
def test_a_signal_at_a_step_of_the_start(folder, event, what, number, status):
    folder.edit('chips.py', **SLOW)
    folder.hook(AT_EVENT.format(event=event, what=what, number=int(number)))
    run = folder.start('chips.py')
    out, err = run.communicate(timeout=LIMIT)
    line, = said(err)
    assert run.returncode == status and not alive(run.pid)
    assert re.fullmatch(r'Stopped(: \d of 200 are there)?\. Run it again to go on\.', line)


@SIGNALS
def test_a_signal_that_reaches_workers_in_the_moment_of_their_start(folder, number, status):
    """Only the parent speaks, and ends them."""
    folder.edit('chips.py', **SLOW).hook(f'''
import os


def signalled():
    os.kill(os.getpid(), {int(number)})


os.register_at_fork(after_in_child=signalled, after_in_parent=signalled)
''')
    run = folder.start('chips.py')
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == status and not alive(run.pid)
    assert said(err) == ['Stopped: 0 of 200 are there. Run it again to go on.']


@BRIEF
@SIGNALS
def test_a_signal_while_the_list_is_asked_for(folder, standin, number, status):
    standin.set(latency='compute=600')
    run = folder.start('chips.py')
    while not run.stderr.readline().startswith('Asking '):
        assert run.poll() is None
    time.sleep(0.5)
    interrupt(run, number)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == status and said(err) == ['Stopped. Run it again to go on.']
    assert 'compute' not in standin.counts()['requests']  # it did not wait for the answer


def test_a_signal_that_the_shell_has_switched_off_stays_so(folder, standin):
    """As with `python chips.py &` in a script."""
    standin.set(latency='pixels=0.1')
    run = folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=2).start(
        '-c', 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); '
        'os.execv(sys.executable, [sys.executable, "chips.py"])')
    wait_for_files(run, folder, 1)
    interrupt(run, signal.SIGINT)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '20 of 20' in err


@BRIEF
@METHODS
def test_killed_parent_leaves_no_process(folder, standin, method):
    """Whatever the workers are at: all items but the first take ten minutes."""
    standin.set(start_method=method)
    first_do(folder, 'try:', "    open('begun', 'x').close()", 'except FileExistsError:', '    time.sleep(600)')
    run = folder.edit('chips.py', **SLOW).start('chips.py')
    wait_for_files(run, folder, 1)
    os.kill(run.pid, signal.SIGKILL)
    out, err = run.communicate(timeout=LIMIT)
    assert not alive(run.pid) and not said(err)


@BRIEF
def test_killed_at_random_moments(folder, calm, standin, long):
    folder.edit('chips.py', **CHIPS)
    dice = random.Random(7)
    standin.set(latency='0.05')
    for turn in range(20 if long else 3):
        run = folder.start('chips.py')
        time.sleep(dice.uniform(1, 2.5))
        victim = dice.choice(['worker', 'parent', 'all'])
        try:
            if victim == 'worker' and (found := workers(run, standin)):
                os.kill(dice.choice(found), signal.SIGKILL)
            elif victim == 'parent':
                os.kill(run.pid, signal.SIGKILL)
            else:
                os.killpg(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        out, err = run.communicate(timeout=LIMIT)
        assert 'Traceback' not in err
        assert not alive(run.pid)
        if turn % 2:  # begin again, so that there is something to kill
            for path in list((folder.path / 'chips').glob('*.png'))[::2]:
                path.unlink()
    standin.set(latency='')
    folder.run('chips.py')
    assert folder.files('chips') == calm
    assert not list((folder.path / 'chips').glob('.part*'))


@METHODS
@pytest.mark.parametrize('edited', ['MAX', 'a syntax error'])
def test_a_script_that_is_edited_in_mid_run(folder, standin, method, edited):
    """The run goes on with what it was, in rounds with new processes, too."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=2, PAUSES=[0] * 20)
    first_do(folder, "while not os.path.exists('edited'):", '    time.sleep(0.1)',
             "if index == 0 and not os.path.exists('killed'):",
             "    open('killed', 'x').close()", '    os.kill(os.getpid(), 9)')
    whole = (folder.path / 'chips.py').read_text()
    standin.set(start_method=method)
    run = folder.start('chips.py')
    wait_for(lambda: any(row[2] == 'begun' for row in read_log(folder)), run)
    if edited == 'MAX':
        folder.edit('chips.py', MAX=100)
    else:
        (folder.path / 'chips.py').write_text(whole + '\nif True print(1)\n')
    (folder.path / 'edited').touch()
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '20 of 20' in err and 'A process was killed' in err, err
    assert not re.search('Error|Traceback|edited', err)
    mixed = folder.files('chips')
    for path in chips_in(folder):
        path.unlink()
    (folder.path / 'chips.py').write_text(whole)
    folder.run('chips.py')
    assert folder.files('chips') == mixed and len(mixed) == 21


@METHODS
def test_an_edit_right_after_the_start(folder, standin, method):
    """Saved while the modules are imported: results and list are those of what was started."""
    standin.set(start_method=method)
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, PROCESSES=2, MAX=200)
    whole = (folder.path / 'chips.py').read_text()
    folder.edit('chips.py', MAX=100)
    (folder.path / 'other.py').write_text((folder.path / 'chips.py').read_text())
    (folder.path / 'chips.py').write_text(whole)
    folder.hook(EDITED_EARLY, cold=True)
    folder.run('chips.py')
    assert (folder.path / 'chips.py').read_text() != whole
    line, = said(folder.run('chips.py', status=1))
    assert line.startswith('MAX is 100 now and was 200.')
    (folder.path / 'chips.py').write_text(whole)
    came = folder.files('chips')
    for path in chips_in(folder)[::2]:
        path.unlink()
    folder.run('chips.py')
    assert folder.files('chips') == came and len(came) == 9


EDITED_EARLY = '''
import os, shutil, sys


def imported(event, arguments):
    """Saves another text as the script when it begins to import what it needs, once."""
    if event == 'import' and arguments[0] == 'ee' and os.path.exists('other.py'):
        os.replace('other.py', 'chips.py')


sys.addaudithook(imported)
'''


def test_two_runs_at_once(folder, calm, standin):
    standin.set(latency='0.05')
    first = folder.edit('chips.py', **CHIPS).start('chips.py')
    wait_for_files(first, folder, 5)
    standin.set(latency='pixels=3')  # so that it isn't done before
    assert said(folder.run('chips.py', status=1)) == ['chips: another run is at work here.']
    standin.set(latency='')
    first.communicate(timeout=LIMIT)
    assert first.returncode == 0 and folder.files('chips') == calm


def test_a_disk_without_locks(folder):
    """A warning, and on."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.hook('''
import fcntl


def nothing(*_):
    raise OSError(37, 'No locks available')


fcntl.flock = nothing
''')
    printed = folder.run('chips.py')
    assert re.search(r'Warning: .*No locks available', printed) and '4 of 4' in printed


def test_twice_in_the_same_python(folder, standin):
    """As `%run chips.py` does in IPython: the lock is free and the signals are as before."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, PROCESSES=2)
    standin.set(broken='1/1')
    (folder.path / 'twice.py').write_text('''
import os, runpy, signal
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
for turn in 'first', 'second':
    try:
        runpy.run_path('chips.py', run_name='__main__')
    except SystemExit as end:
        print(turn, 'ended with', end.code)
    os.remove('chips/' + next(name for name in os.listdir('chips') if name.endswith('png')))
print([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before)
''')
    printed = folder.run('twice.py')
    assert 'first ended with 1' in printed and 'second ended with 1' in printed
    assert printed.endswith('True\n') or '\nTrue\n' in printed


def test_numbers_stay_when_the_server_answers_otherwise(folder, standin):
    folder.edit('chips.py', **CHIPS).run('chips.py')
    before = folder.files('chips')
    standin.set(behaviour='sample_seed=1')  # as if the service drew other points
    (folder.path / 'chips' / 'chip_00005.png').unlink()
    folder.run('chips.py')
    assert folder.files('chips') == before


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB."""
    if os.geteuid():
        pytest.skip('only root can mount a small disk')
    disk = tmp_path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', str(disk)]).returncode:
        pytest.skip('no disk can be mounted here')
    yield disk
    subprocess.run(['umount', '-l', str(disk)])


def test_disk_full(folder, standin, disk):
    subprocess.run(['mount', '-o', 'remount,size=2m', str(disk)], check=True)
    folder.edit('chips.py', POINTS_PER_ECOREGION=25, OUTPUT=str(disk / 'chips'))
    line, = said(folder.run('chips.py', status=1))
    there = len(chips_in(folder, disk / 'chips'))
    assert line == f'The disk of {disk}/chips is full: {there} of 100 are there. Run it again to go on.'
    assert there > 20
    subprocess.run(['mount', '-o', 'remount,size=100m', str(disk)], check=True)
    folder.run('chips.py')
    assert len(list((disk / 'chips').glob('*.png'))) == 100
    assert not list((disk / 'chips').glob('.part*'))


def test_a_disk_that_takes_no_more_files(folder, standin, disk):
    """There is room on it, but for 60 files, or by a quota: the others are not asked for in vain."""
    subprocess.run(['mount', '-o', 'remount,size=100m,nr_inodes=60', str(disk)], check=True)
    standin.set(latency='pixels=0.2')
    folder.edit('chips.py', POINTS_PER_ECOREGION=25, SIZE=8, OUTPUT=str(disk / 'chips'))
    line, = said(folder.run('chips.py', status=1))
    there = len(chips_in(folder, disk / 'chips'))
    assert re.fullmatch(rf"Nothing more can be written: .*No space left on device: '{disk}/chips/.*': "
                        rf'{there} of 100 are there\. Run it again to go on\.', line)
    assert 40 < there < 60 and standin.counts()['results'] < there + 30
    subprocess.run(['mount', '-o', 'remount,nr_inodes=1000', str(disk)], check=True)
    folder.run('chips.py')
    assert len(chips_in(folder, disk / 'chips')) == 100


def test_standard_error_on_a_full_disk(folder, disk):
    """It gets lost, the results don't."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, OUTPUT='chips')
    subprocess.run(['dd', 'if=/dev/zero', f'of={disk}/fill'], stderr=subprocess.DEVNULL)
    with open(disk / 'err.txt', 'w') as err:
        subprocess.run([sys.executable, 'chips.py'], cwd=folder.path, env=folder.standin.environ, stderr=err,
                       timeout=LIMIT)
    assert len(folder.files('chips')) == 9


@pytest.mark.parametrize('how', ['moved', 'deleted', 'another in its place'])
def test_a_folder_that_goes_in_mid_run(folder, standin, how):
    standin.set(latency='pixels=0.1')
    run = folder.edit('chips.py', **SLOW).start('chips.py')
    wait_for_files(run, folder, 3)
    if how == 'deleted':
        subprocess.run(['rm', '-rf', 'chips'], cwd=folder.path)  # what comes meanwhile may hold it up
        shutil.rmtree(folder.path / 'chips', ignore_errors=True)
    else:
        (folder.path / 'chips').rename(folder.path / 'old')
    if how == 'another in its place':
        (folder.path / 'chips').mkdir()
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 1 and not alive(run.pid), err
    line, = said(err)
    assert line.startswith('chips was moved or deleted while this was at work in it')
    if how == 'moved':
        (folder.path / 'old').rename(folder.path / 'chips')
        came = len(chips_in(folder))
        standin.set(latency='')
        standin.reset()
        folder.run('chips.py')
        assert standin.counts()['results'] == 200 - came


def allow_files(soft, hard):
    """What a process does first to have such limits of open files (ulimit -n)."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_few_open_files_are_told_at_once(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, PROCESSES=25)
    line, = said(folder.run('chips.py', status=1, preexec_fn=allow_files(64, 64)))
    assert line.startswith('PROCESSES: 25 processes need ') and '64 (ulimit -n)' in line
    assert not (folder.path / 'chips').exists() and not standin.counts()['requests']
    folder.edit('chips.py', PROCESSES=2)
    assert '4 of 4' in folder.run('chips.py', preexec_fn=allow_files(140, 140))


@FORK_FIRST
def test_a_low_limit_of_open_files_is_raised(folder, standin, method):
    standin.set(start_method=method)
    folder.edit('chips.py', POINTS_PER_ECOREGION=4, SIZE=8, PROCESSES=12)
    assert '16 of 16' in folder.run('chips.py', preexec_fn=allow_files(36, 1024))


@FORK_FIRST
def test_nothing_leaks_over_twenty_killed_workers(folder, standin, method, long):
    """With as many open files as macOS gives; each of the items counts those of the parent, and is
    killed once."""
    standin.set(start_method=method)
    kills = 20 if long or method == 'fork' else 6
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=2, PAUSES=[0] * 40)
    first_do(folder, f'if index < {kills} and not os.path.exists(f"killed-{{index}}"):',
             '    main = multiprocessing.parent_process().pid',
             "    number = len(os.listdir(f'/proc/{main}/fd'))",
             "    open(f'killed-{index}', 'w').write(str(number))", '    os.kill(os.getpid(), 9)')
    run = folder.start('chips.py', preexec_fn=allow_files(256, 256))
    out, err = run.communicate(timeout=2 * LIMIT)
    assert run.returncode == 0 and '40 of 40' in err, err
    marks = sorted(folder.path.glob('killed-*'), key=lambda path: path.stat().st_mtime_ns)
    counts = [int(path.read_text()) for path in marks]
    assert len(counts) == kills and max(counts) <= min(counts) + 5, counts


# Read when a Python starts: from when the log is opened this process, which is no worker, may have
# only so many files more, or start only so many processes or threads more.
SHORT_OF_FILES = '''
import os, resource, sys


def opened(event, arguments):
    if event == 'open' and str(arguments[0]).endswith('log.csv') and not os.path.exists('short'):
        open('short', 'x').close()
        limit = len(os.listdir('/proc/self/fd')) + {}
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


sys.addaudithook(opened)
'''
SHORT_OF = '''
import {module}
function, left = {module}.{name}, {left}


def few(*arguments, **options):
    global left
    left -= 1
    if left < 0:
        raise {error}
    return function(*arguments, **options)


{module}.{name} = few
'''
AGAIN = "BlockingIOError(11, 'Resource temporarily unavailable')"


@pytest.mark.parametrize('more', [3, 5, 9, 20])
@METHODS
def test_workers_that_cannot_be_started_for_want_of_open_files(folder, standin, method, more):
    standin.set(start_method=method)
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=20)
    folder.hook(SHORT_OF_FILES.format(more))
    check_not_started(folder, '' if method == 'forkserver' else 'Too many open files')


@pytest.mark.parametrize('left', [0, 2])
@pytest.mark.parametrize('method,module,name', [
    ('fork', 'os', 'fork'), ('forkserver', 'os', 'fork'), ('spawn', '_posixsubprocess', 'fork_exec')],
    ids=['fork', 'forkserver', 'spawn'])
def test_workers_that_cannot_be_started_for_want_of_processes(folder, standin, method, module, name, left):
    """As with ulimit -u, which does not hold for root."""
    standin.set(start_method=method)
    left += 2 * (method == 'spawn')  # the resource tracker is started so, too
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=6).hook(
        SHORT_OF.format(module=module, name=name, left=left, error=AGAIN))
    check_not_started(folder, '' if method == 'forkserver' else 'Resource temporarily unavailable')


@pytest.mark.parametrize('left', [0, 2])
def test_workers_that_cannot_be_started_for_want_of_threads(folder, standin, left):
    """They count as processes for ulimit -u, and take memory (ulimit -v)."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=6).hook(SHORT_OF.format(
        module='_thread', name='start_new_thread', left=left, error='RuntimeError("can\'t start new thread")'), cold=True)
    check_not_started(folder, "can't start new thread")


@METHODS
def test_workers_that_cannot_be_started_for_want_of_shared_memory(folder, standin, method):
    """As where /dev/shm cannot be written."""
    standin.set(start_method=method)
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=6).hook('''
import _multiprocessing


class NoLock(_multiprocessing.SemLock):
    def __new__(*_):
        raise OSError(30, 'Read-only file system')


_multiprocessing.SemLock = NoLock
''')
    check_not_started(folder, 'Read-only file system')


def check_not_started(folder, reason):
    """Runs chips.py and checks that it ends by itself with a sentence."""
    run = folder.start('chips.py')
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 1 and not alive(run.pid)
    assert len(said(err)) == 1, out + err
    line, = said(err)
    assert re.fullmatch(rf'PROCESSES: \d+ processes cannot be started here \(.*{reason}.*\): lower '
                        'PROCESSES.*', line), line


@FORK_FIRST
def test_a_new_run_right_after_its_parent_was_killed(folder, calm, standin, method):
    """The lock is free while the old workers still live; what they are about to write does no harm."""
    standin.set(latency='pixels=0.1', start_method=method)
    old = folder.edit('chips.py', **CHIPS).start('chips.py')
    wait_for_files(old, folder, 10)
    stopped = workers(old, standin)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    os.kill(old.pid, signal.SIGKILL)
    new = folder.start('chips.py')
    wait_for_files(new, folder, len(chips_in(folder)) + 20)
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):  # on a busy machine some were gone
            os.kill(pid, signal.SIGCONT)
    new.communicate(timeout=LIMIT)
    old.communicate(timeout=LIMIT)
    assert new.returncode == 0 and not alive(old.pid) and not alive(new.pid)
    assert folder.files('chips') == calm
    folder.run('chips.py')  # an old worker may have ended in the midst of a part
    assert not list((folder.path / 'chips').glob('.part*'))
    assert not [row for row in folder.log('chips') if row['outcome'] == 'failed']


def test_two_starts_at_once(folder, standin):
    """0.3 s apart or less: one works, the other says so."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2)
    first_do(folder, "while not os.path.exists('go'):", '    time.sleep(0.1)')
    runs = [folder.start('chips.py')]
    time.sleep(0.3)
    runs.append(folder.start('chips.py'))
    late = wait_for(lambda: [run for run in runs if run.poll() is not None])[0]
    (folder.path / 'go').touch()
    assert late.returncode == 1
    assert said(late.communicate(timeout=LIMIT)[1]) == ['chips: another run is at work here.']
    runs.remove(late)
    err = runs[0].communicate(timeout=LIMIT)[1]
    assert runs[0].returncode == 0 and '4 of 4' in err


@pytest.mark.parametrize('method', ['forkserver', 'spawn'])
def test_a_killed_resource_tracker_says_nothing(folder, standin, method):
    standin.set(start_method=method, latency='pixels=0.2')
    run = folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=2).start('chips.py')
    wait_for_files(run, folder, 1)
    tracker = subprocess.run(['pgrep', '-P', str(run.pid), '-f', 'resource_tracker import'],
                             capture_output=True, text=True, check=True).stdout
    os.kill(int(tracker), signal.SIGKILL)
    os.kill(workers(run, standin)[0], signal.SIGKILL)  # others are started now
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and not out
    begun = [line.split(',')[0] for line in said(err)]
    assert begun == ['A process was killed', '40 of 40 are in chips'], err


def test_what_workers_and_helpers_write_to_standard_error_is_not_shown(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2)
    first_do(folder, "os.write(2, b'from a library\\n')", "print('from Python', file=sys.stderr)")
    assert said(folder.run('chips.py')) == ['4 of 4 are in chips, listed in chips.csv.']


def test_nested_folders(folder, standin):
    """A run in data and one in data/b, at once: none removes what the other writes."""
    shutil.copy(folder.path / 'chips.py', folder.path / 'within.py')
    folder.edit('chips.py', OUTPUT='data', **SLOW).edit('within.py', OUTPUT='data/b', **SLOW)
    standin.set(latency='pixels=0.05')
    outer = folder.start('chips.py')
    wait_for_files(outer, folder, 5, 'data')
    inner = folder.start('within.py')
    wait_for_files(inner, folder, 5, 'data/b')
    os.kill(outer.pid, signal.SIGTERM)
    outer.communicate(timeout=LIMIT)
    part = folder.path / 'data' / 'b' / '.part-1-chip_00199.png'
    part.touch()  # as if it were at work on this one in this moment
    outer = folder.start('chips.py')
    standin.set(latency='')
    for run in outer, inner:
        err = run.communicate(timeout=LIMIT)[1]
        assert run.returncode == 0 and '200 of 200' in err, err
    assert part.exists()
    assert not [row for row in folder.table('data/b/log.csv') if row['outcome'] in ('failed', 'again')]
    outer, inner = folder.files('data'), folder.files('data/b')
    assert {name: body for name, body in outer.items() if not name.startswith('b/')} == inner


HEADER = 'time,file,outcome,why'
ROW = '2026-01-01T00:00:00.000Z,chip_00001.png,again,'
def test_what_follows_in_a_log_that_was_deleted_counts(folder):
    """Though it is shorter then than what the parent has read."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=1)
    first_do(folder, "if len([*folder.glob('*.png')]) == 3:", '    time.sleep(1.5)', '    log_file.unlink()',
             "    raise Nothing('the last')")
    printed = folder.run('chips.py')
    assert '3 of 4 are in chips' in printed and '1 nothing: the last (' in printed


def test_what_an_item_said_before_it_killed_its_process_is_no_outcome(folder):
    """Neither a retry nor a warning."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=3, SIZE=8, PROCESSES=1, PAUSES=[0] * 9)
    first_do(folder, 'if index == 7:', "    note('retry', 'as the retry of a request does')",
             'if index == 8:', "    warnings.warn('odd')",
             'if index in (7, 8):', '    time.sleep(1.5)', '    os.kill(os.getpid(), 9)')
    printed = folder.run('chips.py', status=1)
    assert '10 of 12' in printed and '2 failed: its process was killed twice' in printed


def test_items_whose_round_was_broken_off_are_told_so(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=2)
    first_do(folder, 'if index == 0:', '    os.kill(os.getpid(), 9)', 'time.sleep(5)')
    said_of = ' '.join(said(folder.run('chips.py', status=1)))
    assert ' again: its round was broken off (' in said_of and ' begun' not in said_of


SPOIL = {
    'deleted': lambda log: log.unlink(),
    'emptied': lambda log: os.truncate(log, 0),
    'cut within its header': lambda log: os.truncate(log, 10),
    'cut': lambda log: os.truncate(log, len(HEADER) + 40),
    'zeros at its end': lambda log: log.open('ab').write(bytes(200_000)),
    'half a row': lambda log: log.open('a').write('2026-0'),
    'most of a row': lambda log: log.open('a').write(ROW + '"never closed'),
    'no text': lambda log: log.open('ab').write(bytes(range(128, 256)) + b'\n,\n"\n'),
}


@pytest.mark.parametrize('how', SPOIL)
def test_whatever_the_log_looks_like(folder, standin, how):
    """Spoilt in mid-run and before a run: the run goes on with what the files say, and the log has its
    header in the end. A worker is killed right after."""
    log = folder.path / 'chips' / 'log.csv'
    standin.set(latency='pixels=0.1')
    folder.edit('chips.py', POINTS_PER_ECOREGION=8, SIZE=8, PROCESSES=2, PAUSES=[0] * 5)
    run = folder.start('chips.py')
    wait_for_files(run, folder, 5)
    SPOIL[how](log)
    there = len(chips_in(folder))
    wait_for_files(run, folder, there + 4)
    os.kill(workers(run, standin)[0], signal.SIGKILL)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0, err
    assert [line.split(',')[0] for line in said(err)] == ['A process was killed', '32 of 32 are in chips']
    assert log.read_text(errors='replace').startswith(f'{HEADER}\n')

    SPOIL[how](log)
    came = chips_in(folder)
    for path in came[:3]:
        path.unlink()
    standin.reset()
    assert said(folder.run('chips.py')) == ['32 of 32 are in chips, listed in chips.csv.']
    assert standin.counts()['results'] == 3 and 'compute' not in standin.counts()['requests']
    text = log.read_text(errors='replace')
    assert text.startswith(f'{HEADER}\n') and text.count(HEADER) == 1 and '\0' not in text
    ends = [line.split(',')[1:3] for line in text.splitlines() if line.count(',') == 3]
    for path in came[:3]:
        assert [path.name, 'done'] in ends


def test_times_of_the_log_are_utc_with_milliseconds(folder):
    """Wherever the computer is: here its clock is 14 hours ahead."""
    before = time.time()
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    times = [row['time'] for row in folder.log('chips')]
    form = r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z'
    assert len(times) > 8 and all(re.fullmatch(form, one) for one in times)
    seconds = [datetime.datetime.fromisoformat(one).timestamp() for one in times]
    assert all(before - 1 < one < time.time() for one in seconds)


@pytest.mark.parametrize('kind', ['bad-redirect', 'bad-chunk', 'junk', 'reset', 'stall'])
def test_the_timer_is_off_after_any_exception(folder, standin, kind):
    """It would ring in what getResult() does later than DEADLINE after a request."""
    standin.set(faults='pixels=1', fault_kinds=kind)
    folder.replace('chips.py', 'tries=20', 'tries=1')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=4, DEADLINE=2, PAUSES=[0])
    folder.add('chips.py', '''
fetched = getResult


def getResult(index, item):
    """Computes for long after a request that failed."""
    try:
        return fetched(index, item)
    except (ConnectionError, TimeoutError):
        end = time.monotonic() + 2 * DEADLINE
        while time.monotonic() < end:
            time.sleep(0.1)
        raise
''')
    printed = folder.run('chips.py', status=1)
    assert '0 of 4' in printed and 'failed' not in printed.replace('0 failed', '')
