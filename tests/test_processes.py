"""Kills, Ctrl-C and two runs at once: the next run completes the folder, byte for byte."""
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import DEFAULTS, Folder, alive

CHIPS = dict(POINTS_PER_ECOREGION=60, SIZE=32, PROCESSES=8)


def wait_for_files(folder, number, seconds=60):
    """Waits until a run has that many results."""
    for _ in range(seconds * 50):
        if (folder.path / 'chips').is_dir() and len(list((folder.path / 'chips').glob('*.png'))) >= number:
            return
        time.sleep(0.02)
    raise AssertionError('no results')


def workers(parent):
    """The processes that a process has started, but for multiprocessing's own tracker."""
    listed = subprocess.run(['pgrep', '-aP', str(parent)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if 'resource_tracker' not in line]


@pytest.fixture(scope='module')
def calm(server, tmp_path_factory):
    """The files of a run that nothing disturbs."""
    server.set(**DEFAULTS)
    folder = Folder(tmp_path_factory.mktemp('calm'), server)
    folder.edit('chips.py', **CHIPS).run('chips.py')
    return folder.files('chips')


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_killed_worker(folder, calm, standin, method):
    standin.set(latency='0.05', start_method=method)
    run = folder.edit('chips.py', **CHIPS).start('chips.py')
    wait_for_files(folder, 5)
    children = workers(run.pid)
    pids = [pid for child in children for pid in [child, *workers(child)]]
    busy = [pid for pid in pids if not workers(pid)]
    os.kill(random.choice(busy), signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    assert 'Traceback' not in err and not alive(run.pid)
    assert run.returncode == 0 and err.count('A worker process was killed') == 1
    assert folder.files('chips') == calm


def test_an_item_that_kills_its_worker_each_time_is_reported(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=3)
    folder.replace('chips.py', '    around = ', '    index == 7 and os.kill(os.getpid(), 9)\n    around = ')
    printed = folder.run('chips.py', status=1)
    assert '39 of 40' in printed and 'chip_00007.png' in printed


def test_more_items_that_kill_than_processes(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=2)
    folder.replace('chips.py', '    around = ', '    index in (7, 8, 9) and os.kill(os.getpid(), 9)\n    around = ')
    printed = folder.run('chips.py', status=1)
    assert 'going on with 1.' in printed and 'going on with 0' not in printed
    assert all(f'chip_0000{n}.png' in printed for n in (7, 8, 9))
    folder.replace('chips.py', 'os.kill(os.getpid(), 9)', '0')
    assert '40 of 40' in folder.run('chips.py')


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
@pytest.mark.parametrize('number,status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm(folder, standin, method, number, status):
    standin.set(latency='pixels=0.5', start_method=method)
    run = folder.edit('chips.py', POINTS_PER_ECOREGION=200, SIZE=8).start('chips.py')
    wait_for_files(folder, 1)
    start = time.monotonic()
    (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
    out, err = run.communicate(timeout=20)
    assert time.monotonic() - start < 3
    assert run.returncode == status and not alive(run.pid)
    said = [line for line in err.splitlines() if line and '/800 [' not in line]
    assert len(said) == 1 and 'Run it again' in said[0], err


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
@pytest.mark.parametrize('number,status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_workers_start(folder, standin, method, number, status):
    standin.set(start_method=method, latency='create=5')
    folder.edit('chips.py', POINTS_PER_ECOREGION=200, SIZE=8, PROCESSES=8)
    for delay in 0, 0.05, 0.3:
        run = folder.start('chips.py')
        while not (folder.path / 'chips' / '.run.json').exists():
            assert run.poll() is None
            time.sleep(0.002)
        time.sleep(delay)
        (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
        begun = time.monotonic()
        out, err = run.communicate(timeout=20)
        assert time.monotonic() - begun < 4 and not alive(run.pid)
        said = [line for line in err.splitlines() if line and '/800 [' not in line]
        assert run.returncode == status and said == ['Stopped. Run it again to go on from here.'], err
        for path in (folder.path / 'chips').iterdir():
            path.unlink()


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_killed_parent_leaves_no_process(folder, standin, method):
    standin.set(latency='pixels=0.5', start_method=method)
    run = folder.edit('chips.py', POINTS_PER_ECOREGION=200, SIZE=8, PROCESSES=8).start('chips.py')
    wait_for_files(folder, 1)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=20)
    assert not alive(run.pid, seconds=5)


def test_killed_at_random_moments(folder, calm, standin, long):
    folder.edit('chips.py', **CHIPS)
    dice = random.Random(7)
    standin.set(latency='0.05')
    for turn in range(20 if long else 6):
        run = folder.start('chips.py')
        time.sleep(dice.uniform(1, 2.5))
        victim = dice.choice(['worker', 'parent', 'all'])
        try:
            if victim == 'worker' and (children := workers(run.pid)):
                os.kill(dice.choice(children), signal.SIGKILL)
            elif victim == 'parent':
                os.kill(run.pid, signal.SIGKILL)
            else:
                os.killpg(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        out, err = run.communicate(timeout=60)
        # an orphan may say that its pipe is broken
        assert victim == 'parent' or 'Traceback' not in err
        assert not alive(run.pid, seconds=5)
        if turn % 5 == 4:  # begin again, so that there is something to kill
            for path in list((folder.path / 'chips').glob('*.png'))[::2]:
                path.unlink()
    standin.set(latency='')
    folder.run('chips.py')
    assert folder.files('chips') == calm
    assert not list((folder.path / 'chips').glob('*.part'))


@pytest.mark.parametrize('method', ['forkserver', 'spawn'])
def test_a_script_that_is_edited_meanwhile_makes_no_other_results(folder, standin, method):
    """Workers of a second round read the script again."""
    standin.set(start_method=method, faults='create=0.6', fault_kinds='503', latency='create=0.02')
    folder.replace('chips.py', 'tries=12', 'tries=1').edit('chips.py', POINTS_PER_ECOREGION=20, SIZE=8, PROCESSES=5)
    run = folder.start('chips.py')
    wait_for_files(folder, 1)
    folder.edit('chips.py', MAX=100)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 1 and 'chips.py was edited' in err and 'Traceback' not in err
    standin.set(**DEFAULTS)
    folder.edit('chips.py', MAX=255).run('chips.py')
    mixed, calm = folder.files('chips'), folder.path / 'chips'
    for path in calm.glob('*.png'):
        path.unlink()
    folder.run('chips.py')
    assert folder.files('chips') == mixed and len(mixed) == 81


def test_two_runs_at_once(folder, calm, standin):
    standin.set(latency='0.05')
    first = folder.edit('chips.py', **CHIPS).start('chips.py')
    wait_for_files(folder, 5)
    assert 'another run' in folder.run('chips.py', status=1)
    first.communicate(timeout=60)
    assert first.returncode == 0 and folder.files('chips') == calm


def test_numbers_stay_when_the_server_answers_otherwise(folder, standin):
    folder.edit('chips.py', **CHIPS).run('chips.py')
    before = folder.files('chips')
    folder.replace('chips.py', 'seed=SEED', 'seed=SEED + 1')  # as if the service drew other points
    (folder.path / 'chips' / 'chip_00005.png').unlink()
    folder.run('chips.py')
    assert folder.files('chips') == before


def test_disk_full(folder, standin, tmp_path):
    if os.geteuid():
        pytest.skip('only root can mount a small disk')
    disk = tmp_path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(disk)]).returncode:
        pytest.skip('no disk can be mounted here')
    try:
        folder.edit('chips.py', POINTS_PER_ECOREGION=60, OUTPUT=str(disk / 'chips'))
        start = time.monotonic()
        printed = folder.run('chips.py', status=1)
        assert time.monotonic() - start < 30 and 'No space left' in printed
        said = [line for line in printed.splitlines() if '/240 [' not in line]
        assert len(said) == 1, printed
        subprocess.run(['mount', '-o', 'remount,size=100m', str(disk)], check=True)
        folder.run('chips.py')
        assert len(list((disk / 'chips').glob('*.png'))) == 240
        assert not list((disk / 'chips').glob('*.part'))
    finally:
        subprocess.run(['umount', '-l', str(disk)])
