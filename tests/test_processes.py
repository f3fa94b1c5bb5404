"""Kills, Ctrl-C and two runs at once: the next run completes the folder, byte for byte."""
import contextlib
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from conftest import BRIEF, DEFAULTS, LIMIT, Folder, alive, said

CHIPS = dict(POINTS_PER_ECOREGION=60, SIZE=32, PROCESSES=4)
SLOW = dict(POINTS_PER_ECOREGION=100, SIZE=8, PROCESSES=3)
METHODS = pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
SIGNALS = pytest.mark.parametrize('number,status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
AROUND = '    around = '


def wait_for_files(folder, number, seconds=LIMIT):
    """Waits until a run has that many results."""
    for _ in range(seconds * 50):
        if (folder.path / 'chips').is_dir() and len(list((folder.path / 'chips').glob('*.png'))) >= number:
            return
        time.sleep(0.02)
    raise AssertionError('no results')


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
@METHODS
def test_killed_worker(folder, calm, standin, method):
    standin.set(latency='0.05', start_method=method)
    run = folder.edit('chips.py', **CHIPS).start('chips.py')
    wait_for_files(folder, 5)
    standin.set(latency='pixels=600')  # so that it isn't done before
    os.kill(random.choice(workers(run, standin)), signal.SIGKILL)
    standin.set(latency='')
    out, err = run.communicate(timeout=LIMIT)
    assert 'Traceback' not in err and not alive(run.pid)
    assert run.returncode == 0 and err.count('A process was killed') == 1
    assert folder.files('chips') == calm


@METHODS
def test_items_that_kill_their_process_come_last_and_are_left_after_two_kills(folder, standin, method):
    standin.set(start_method=method, latency='pixels=0.2')  # so that a kill is noticed early
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=3)
    folder.replace('chips.py', AROUND, f'    index in (7, 8, 9) and os.kill(os.getpid(), 9)\n{AROUND}')
    printed = folder.run('chips.py', status=1)
    assert '37 of 40' in printed and '3 failed: its process was killed twice' in printed
    assert all(f'chip_0000{n}.png' in printed for n in (7, 8, 9))
    begun = [row['file'] for row in folder.log('chips') if row['outcome'] == 'begun']
    killers = [f'chip_0000{n}.png' for n in (7, 8, 9)]
    assert sorted(row['file'] for row in folder.log('chips') if row['outcome'] == 'failed') == killers
    for file in killers:
        last = max(place for place, name in enumerate(begun) if name == file)
        assert len({*begun[:last]} - {*killers}) > 30  # of 37, a few of which may be in work
    folder.replace('chips.py', 'os.kill(os.getpid(), 9)', '0')
    assert '40 of 40' in folder.run('chips.py', '--keep')


def test_one_process_and_an_item_that_kills_it(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=1)
    folder.replace('chips.py', AROUND, f'    index == 7 and os.kill(os.getpid(), 9)\n{AROUND}')
    printed = folder.run('chips.py', status=1)
    assert '19 of 20' in printed and '1 failed: its process was killed twice' in printed
    begun = [row['file'] for row in folder.log('chips') if row['outcome'] == 'begun']
    assert begun.count('chip_00007.png') == 2


@BRIEF
@METHODS
def test_a_worker_killed_before_it_does_anything(folder, standin, method, long):
    """At random moments of the first 80 ms, in which it may hold a lock that all wait for."""
    standin.set(start_method=method, latency='0.2')
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, PROCESSES=3, DEADLINE=2, PAUSES=[0] * 9)
    folder.replace('chips.py', 'DEADLINE + 120', 'DEADLINE + 8')  # what is stuck is begun anew after 6 s
    dice = random.Random(5)
    folder.run('chips.py')
    for _ in range(40 if long else 1):
        for path in (folder.path / 'chips').glob('*.png'):
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
    """A stopped process shows no sign of life for DEADLINE and a minute, here 4 s."""
    standin.set(latency='0.05')
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=2, DEADLINE=1)
    folder.replace('chips.py', 'DEADLINE + 120', 'DEADLINE + 6')
    run = folder.start('chips.py')
    wait_for_files(folder, 3)
    os.kill(workers(run, standin)[0], signal.SIGSTOP)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '20 of 20' in err and 'is stuck' in err and not alive(run.pid)


def test_an_item_of_many_requests_is_not_taken_for_stuck(folder, standin):
    """Each request is a sign of life, also where nothing is logged for long."""
    standin.set(latency='compute=0.6')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, DEADLINE=2)
    folder.replace('chips.py', 'DEADLINE + 120', 'DEADLINE + 2')  # 3 seconds in all
    folder.replace('chips.py', AROUND, f'''    for number in range(8):
        ee.Number(100 * index + number).getInfo()
{AROUND}''')
    printed = folder.run('chips.py')
    assert '4 of 4' in printed and 'stuck' not in printed


def test_no_item_waits_for_a_slow_one(folder):
    """The first of all goes on when the other process has done the rest."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=2)
    folder.replace('chips.py', AROUND, f'''    with contextlib.suppress(FileExistsError):
        open('begun', 'x').close()
        for _ in range(300):
            if len([*folder.glob('*.png')]) == 39:
                break
            time.sleep(0.1)
        else:
            sys.exit('The others wait.')
{AROUND}''')
    assert '40 of 40' in folder.run('chips.py')


@BRIEF
@METHODS
@SIGNALS
def test_ctrl_c_and_sigterm(folder, standin, method, number, status):
    standin.set(latency='pixels=0.1', start_method=method)
    folder.edit('chips.py', **SLOW).replace(  # a slow end: no worker may start in place of a killed one
        'chips.py', 'worker.kill()\n    os._exit', 'worker.kill()\n        sum(range(10 ** 7))\n    os._exit')
    run = folder.start('chips.py')
    wait_for_files(folder, 1)
    standin.set(latency='pixels=600')  # none comes later but the three that are under way
    interrupt(run, number)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == status and not alive(run.pid)
    there = len(list((folder.path / 'chips').glob('*.png')))
    line, = said(err)
    told = re.fullmatch(r'Stopped: (\d+) of 400 are there. Run it again to go on.', line)
    assert 0 <= there - int(told[1]) <= 3 and there < 400


@METHODS
@SIGNALS
def test_a_signal_while_the_workers_start(folder, standin, method, number, status):
    """Ctrl-C may have to be pressed twice there; whichever is heard ends it with one line."""
    standin.set(start_method=method, latency='create=600')
    folder.edit('chips.py', **SLOW).replace(  # a slow end: time for a worker that heard it to say so
        'chips.py', '    sys.setswitchinterval(60)', '    time.sleep(0.3)\n    sys.setswitchinterval(60)')
    for delay in 0, 0.05, 0.3:
        run = folder.start('chips.py')
        while not (folder.path / 'chips' / 'log.csv').exists():
            assert run.poll() is None
            time.sleep(0.002)
        time.sleep(delay)
        for _ in range(100):
            interrupt(run, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(3)
                break
        out, err = run.communicate(timeout=LIMIT)
        assert not alive(run.pid) and run.returncode == status
        assert said(err) == ['Stopped: 0 of 400 are there. Run it again to go on.'], err
        for path in (folder.path / 'chips').iterdir():
            path.unlink()


@BRIEF
@SIGNALS
def test_a_signal_while_the_list_is_asked_for(folder, standin, number, status):
    standin.set(latency='compute=600')
    run = folder.start('chips.py')
    while not (folder.path / 'chips').exists():
        time.sleep(0.02)
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
    wait_for_files(folder, 1)
    interrupt(run, signal.SIGINT)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '20 of 20' in err


@BRIEF
@METHODS
def test_killed_parent_leaves_no_process(folder, standin, method):
    """Whatever the workers are at: all items but the first take ten minutes."""
    standin.set(start_method=method)
    folder.replace('chips.py', AROUND, f'''    try:
        open('begun', 'x').close()
    except FileExistsError:
        time.sleep(600)
{AROUND}''')
    run = folder.edit('chips.py', **SLOW).start('chips.py')
    wait_for_files(folder, 1)
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


@pytest.mark.parametrize('method', ['forkserver', 'spawn'])
def test_a_script_that_is_edited_meanwhile_makes_no_other_results(folder, standin, method):
    """New processes read the script again, but for those that Python 3.14's forkserver starts."""
    standin.set(start_method=method, faults='create=0.6', fault_kinds='503', latency='create=0.02')
    folder.replace('chips.py', 'tries=20', 'tries=1')
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=3, PAUSES=[0, 0])
    run = folder.start('chips.py')
    wait_for_files(folder, 1)
    folder.edit('chips.py', MAX=100)
    out, err = run.communicate(timeout=LIMIT)
    if method == 'spawn' or sys.version_info < (3, 14):
        assert run.returncode == 1 and 'chips.py was edited' in err
    assert 'Traceback' not in err
    standin.set(**DEFAULTS)
    folder.edit('chips.py', MAX=255).run('chips.py')
    mixed = folder.files('chips')
    for path in (folder.path / 'chips').glob('*.png'):
        path.unlink()
    folder.run('chips.py')
    assert folder.files('chips') == mixed and len(mixed) == 41


def test_two_runs_at_once(folder, calm, standin):
    standin.set(latency='0.05')
    first = folder.edit('chips.py', **CHIPS).start('chips.py')
    wait_for_files(folder, 5)
    standin.set(latency='pixels=3')  # so that it isn't done before
    assert said(folder.run('chips.py', status=1)) == ['chips: another run is at work here.']
    standin.set(latency='')
    first.communicate(timeout=LIMIT)
    assert first.returncode == 0 and folder.files('chips') == calm


def test_a_disk_without_locks(folder):
    """A warning, and on."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', 'import filelock\n', '''import filelock


def nothing(*_, **__):
    raise OSError(37, 'No locks available')


filelock.FileLock.acquire = nothing
''')
    printed = folder.run('chips.py')
    assert re.search(r'Warning: .*No locks available', printed) and '4 of 4' in printed


def test_twice_in_the_same_python(folder, standin):
    """As `%run chips.py` does in IPython: the lock is free and the signals are as before."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, PROCESSES=2)
    standin.set(broken='1/8')
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
    assert 'first ended with True' in printed and 'second ended with True' in printed
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
    folder.edit('chips.py', POINTS_PER_ECOREGION=60, OUTPUT=str(disk / 'chips'))
    line, = said(folder.run('chips.py', status=1))
    there = len(list((disk / 'chips').glob('*.png')))
    told = re.fullmatch(rf'The disk of {disk}/chips is full: (\d+) of 240 are there. Run it again to go on.', line)
    assert 0 <= there - int(told[1]) <= 25 and there > 100
    subprocess.run(['mount', '-o', 'remount,size=100m', str(disk)], check=True)
    folder.run('chips.py')
    assert len(list((disk / 'chips').glob('*.png'))) == 240
    assert not list((disk / 'chips').glob('.part*'))


def test_standard_error_on_a_full_disk(folder, disk):
    """It gets lost, the results don't."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, OUTPUT='chips')
    subprocess.run(['dd', 'if=/dev/zero', f'of={disk}/fill'], stderr=subprocess.DEVNULL)
    with open(disk / 'err.txt', 'w') as err:
        subprocess.run(['python', 'chips.py'], cwd=folder.path, env=folder.standin.environ, stderr=err,
                       timeout=LIMIT)
    assert len(folder.files('chips')) == 9
