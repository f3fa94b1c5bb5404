"""The scripts on a Ray cluster of two nodes on this machine, by the one change that the README gives."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from conftest import LIMIT

pytest.importorskip('ray')

CHIPS = dict(POINTS_PER_ECOREGION=20, SIZE=32, PROCESSES=6)
CLUSTER = '''
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 3, 'include_dashboard': False})
cluster.add_node(num_cpus=3)
print('address', cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
'''
MAIN = '-c', 'import chips; chips.main()'


@pytest.fixture(scope='module')
def ray(server):
    """The environment of a script on a cluster, whose nodes were started in another folder."""
    short = tempfile.mkdtemp(prefix='ray-')  # a path in it is that of a socket, at most 107 long
    environ = {**server.environ, 'RAY_TMPDIR': short, 'RAY_USAGE_STATS_ENABLED': '0'}
    environ.pop('RAY_ADDRESS', None)
    nodes = subprocess.Popen([sys.executable, '-c', CLUSTER], cwd=short, env=environ, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    address = next(line.split()[1] for line in nodes.stdout if line.startswith('address '))
    yield {**environ, 'RAY_ADDRESS': address}
    nodes.stdin.close()
    nodes.wait(30)
    shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def cluster(folder, ray):
    """The folder with the changed import; run() and start() find the cluster."""
    for script in 'chips.py', 'timeseries.py':
        folder.replace(script, 'from multiprocessing import Pool',
                       'from ray.util.multiprocessing import Pool')
    folder.standin = type('OnCluster', (), {'environ': ray})
    return folder


def workers(address):
    """The worker processes of a cluster, [pid, pid of their node]."""
    lines = subprocess.run(['ps', '-ww', '-eo', 'pid=,ppid=,args='], capture_output=True, text=True).stdout
    lines = [line.split(None, 2) for line in lines.splitlines()]
    nodes = {pid for pid, _, command in lines if 'raylet' in command and address in command}
    return [(int(pid), node) for pid, node, command in lines if node in nodes and 'PoolActor' in command]


def begin(folder, number):
    """Starts chips.py and waits for so many chips more."""
    there = len(list(folder.path.glob('chips/*.png')))
    run, end = folder.start(*MAIN), time.time() + LIMIT
    while len(list(folder.path.glob('chips/*.png'))) < there + number and time.time() < end:
        time.sleep(0.02)
    return run


def test_a_broken_off_run_and_a_killed_worker_leave_the_same_files(cluster, new_folder, standin, ray):
    calm = new_folder().edit('chips.py', **CHIPS)
    calm.run('chips.py')
    cluster.edit('chips.py', **CHIPS)
    standin.set(latency='0.15')
    nodes = set()  # Ray takes one for each worker by chance

    for number, status in (signal.SIGINT, 130), (signal.SIGTERM, 143):
        run = begin(cluster, 3)
        nodes.update(node for _, node in workers(ray['RAY_ADDRESS']))
        run.send_signal(number)
        err = run.communicate(timeout=LIMIT)[1]
        assert run.returncode == status and 'Stopped: ' in err and 'Traceback' not in err
        ended = time.time()
        while workers(ray['RAY_ADDRESS']):  # Ray ends them when it has noticed
            assert time.time() < ended + LIMIT
            time.sleep(0.1)
    assert len(nodes) == 2

    standin.reset()
    run = begin(cluster, 3)
    os.kill(workers(ray['RAY_ADDRESS'])[0][0], signal.SIGKILL)
    standin.set(latency='')
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '80 of 80' in err, err
    assert cluster.files('chips') == calm.files('chips')
    # the parent and each worker of two rounds started Earth Engine, once
    assert sum(standin.counts()['requests']['algorithms'].values()) <= 2 * 6 + 1

    standin.reset()
    cluster.run(*MAIN)
    assert not standin.counts()['requests']


def test_failures_and_slow_answers(cluster, standin):
    standin.set(broken='2/4', broken_text='Not today.', faults='table=0.2', fault_kinds='stall')
    cluster.edit('timeseries.py', COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-03-01',
                 PROCESSES=6, DEADLINE=2)
    printed = cluster.run('-c', 'import timeseries; timeseries.main()', status=1)
    assert '10 of 12' in printed and '2 failed: Not today.' in printed
    assert len(cluster.files('timeseries')) == 11
