"""How close chips.py comes to the limit, beside the pattern as published, on the local stand-in.

    python tests/bench.py        all eight items, about 20 minutes
    python tests/bench.py 1 4    items 1 and 4

prints a table in Markdown. With W workers and a service that takes L seconds for an item, N items
cannot take less than N x L / W seconds: that is the limit. N x L is what the stand-in really took
for them, summed up from how many requests it held at any time. Both scripts have the same list of
items, whose results are tiny and not evaluated. The stand-in runs on the same cores: where they are
all busy (item 5, the start of every run) it slows both scripts; so does anything else that runs.
"""
import functools
import importlib.metadata
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import certifi

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / 'standin'))
from launch import DEFAULTS, StandIn  # noqa: E402

CREATE, PIXELS = 0.15, 0.6  # seconds that the service takes on average
CALM = {'latency': f'create={CREATE},pixels={PIXELS}'}
ROUGH = {**CALM, 'faults': 'create=0.012,pixels=0.012', 'stall': 20.0,
         'fault_kinds': ['429', '503'] * 5 + ['stall'] * 2}
SPORADIC = {**CALM, 'faults': 'create=0.1,pixels=0.1', 'fault_kinds': ['429', '503', 'reset', 'truncate']}
QUOTA = {**CALM, 'concurrency': 40, 'rate': 100.0}
RESTRICTED = {**CALM, 'restricted_concurrency': 2}
disturbed = []  # cores that other programmes kept busy, for each run

# The same items for both, and one getInfo() as a real list takes.
ITEMS = '''def getRequests():
    return [{'file': f'{i:06}.png', 'longitude': -107.9 + i % 400 / 100, 'latitude': 37 + i / 4e4}
            for i in range(ee.Number(COUNT).getInfo())]


'''
PUBLISHED = '''import multiprocessing
import shutil

import ee
import requests
from retry import retry

ee.Initialize(project='standin-project',
              opt_url='https://earthengine-highvolume.googleapis.com')


''' + ITEMS + '''@retry(tries=10, delay=1, backoff=2)
def getResult(index, item):
    point = ee.Geometry.Point([item['longitude'], item['latitude']])
    east, north = 88000 * item['longitude'], 111000 * item['latitude']
    image = (ee.ImageCollection('USDA/NAIP/DOQQ').filterBounds(point.buffer(256))
             .filterDate('2015-01-01', '2025-01-01').select(['R', 'G', 'B']).mosaic())
    url = image.getThumbURL({
        'crs': 'EPSG:32613', 'dimensions': [256, 256], 'format': 'png', 'min': 0, 'max': 255,
        'crs_transform': [1, 0, east - 128, 0, -1, north + 128]})
    r = requests.get(url, stream=True)
    if r.status_code != 200:
        r.raise_for_status()
    with open(item['file'], 'wb') as file:
        shutil.copyfileobj(r.raw, file)


if __name__ == '__main__':
    items = getRequests()
    pool = multiprocessing.Pool(PROCESSES)
    pool.starmap(getResult, enumerate(items))
    pool.close()
    pool.join()
'''


def published(count, processes=25):
    """The text of the pattern as published."""
    return PUBLISHED.replace('COUNT', str(count)).replace('PROCESSES', str(processes))


def ours(count, processes=25):
    """The text of chips.py with this list of items."""
    text = (HERE.parent / 'chips.py').read_text()
    for pattern, new in ((r'^def getRequests.*?(?=^@retry)', ITEMS.replace('COUNT', str(count))),
                         (r'^PROCESSES = \d+', f'PROCESSES = {processes}')):
        text, found = re.subn(pattern, lambda _: new, text, count=1, flags=re.M | re.S)
        assert found, pattern
    return text


def run(script, count, workers=25, folder=None, **options):
    """Runs a script to its end, in an empty folder if none is given; returns what it took."""
    if not folder:
        with tempfile.TemporaryDirectory() as new:
            return run(script, count, workers, Path(new), **options)
    standin.set(**{**DEFAULTS, 'tiny': True, **options})
    standin.reset()
    (folder / 'script.py').write_text(script(count, workers))
    used, served, total = cpu(), cpu(standin.process.pid), cpu('')
    peak, pss, status = 0, 0, None
    with open(folder / 'log.txt', 'w') as log:
        begin = time.monotonic()
        child = subprocess.Popen([sys.executable, 'script.py'], cwd=folder, env=standin.environ,
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True)
        while status is None:
            try:
                status = child.wait(0.25)
            except subprocess.TimeoutExpired:
                age = time.monotonic() - begin
                peak = memory(child.pid, 'status', 'VmHWM') or peak
                if not pss and age > 0.6 * count * (CREATE + PIXELS) / workers:
                    pss = sum(memory(pid, 'smaps_rollup', 'Pss') for pid in children(child.pid))
                if age > 240 + count / 8:  # it hangs
                    os.killpg(child.pid, signal.SIGKILL)
        wall = time.monotonic() - begin
    used, served, total = cpu() - used, cpu(standin.process.pid) - served, cpu('') - total
    files = sum(path.stat().st_size > 0 for path in folder.rglob('*.png'))
    rows = sum(path.read_bytes().count(b'\n') - 1 for path in folder.glob('*/log.csv'))
    disturbed.append((total - used - served) / wall)
    print(f'{script.__name__:9} {wall:6.1f} s, {files:,} of {count:,} files, status {status}; '
          f'other programmes kept {disturbed[-1]:.2f} cores busy', file=sys.stderr, flush=True)
    if files < count:
        print((folder / 'log.txt').read_text()[-2000:], file=sys.stderr)
    result = types.SimpleNamespace(count=count, files=files, wall=wall, cpu=used, served=served, rows=rows,
                                   peak=peak, pss=pss / workers, **standin.counts())
    result.held = sum(now[1] * (then[0] - now[0])
                      for now, then in zip(result.history, result.history[1:]))
    result.limit = result.held / workers
    result.kinds = {kind: sum(numbers.values()) for kind, numbers in result.requests.items()}
    result.other = sum(result.kinds[kind] for kind in result.kinds.keys() - {'create', 'pixels'})
    return result


def cpu(pid=None):
    """CPU seconds of a process, of all ('') or of our children that have ended (None)."""
    if pid is None:  # not the stand-in, which goes on
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    fields = Path(f'/proc/{pid}/stat').read_text().partition('\n')[0].split()
    times = fields[13:15] if pid else [*fields[1:4], *fields[6:9]]
    return sum(map(int, times)) / os.sysconf('SC_CLK_TCK')


def memory(pid, file, name):
    """A figure from one of Linux's files about a process, in MB; 0 if the process has ended."""
    try:
        found = re.search(rf'^{name}:\s+(\d+) kB', Path(f'/proc/{pid}/{file}').read_text(), re.M)
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else 0


def children(pid):
    """The processes that a process has started, but for multiprocessing's own tracker."""
    listed = ' '.join(path.read_text() for path in Path('/proc').glob(f'{pid}/task/*/children'))
    return [child for child in listed.split()
            if b'resource_tracker' not in Path(f'/proc/{child}/cmdline').read_bytes()]


def when(result, done):
    """Seconds from the start of a run until so many results had been served."""
    return next((now for now, _, results in result.history if results >= done), float('nan'))


def ending(result):
    """Seconds before the last result with fewer than 20 requests at a time."""
    last = max((now for now, held, _ in result.history if held >= 20), default=0)
    return when(result, result.count) - last


def both(count, workers=25, **options):
    """One run of each script."""
    return [run(script, count, workers, **options) for script in (published, ours)]


@functools.cache
def calm(method=''):
    """The runs of item 1, of which item 4 makes use, too."""
    return both(1000, **CALM, start_method=method)


def row(what, figure, results, target=''):
    """Prints a row of the table: figure of each result."""
    cells = [figure(result) if result and result.files else '' for result in results]
    cells = [f'{cell} ({result.files:,} of {result.count:,} files)'
             if result and result.files < result.count else cell
             for cell, result in zip(cells, results)]
    print('|', ' | '.join([what, *cells, target]), '|', flush=True)


def item_1():
    """A calm service."""
    results = calm()
    row('1. calm, 1,000 chips: wall / limit', lambda r: f'{r.wall / r.limit:.2f}', results,
        '1.05')
    row('1. first chip after', lambda r: f'{when(r, 1):.1f} s', results)
    row('1. fewer than 20 of 25 busy at the end', lambda r: f'{ending(r):.1f} s', results)


def item_2():
    """A bad day."""
    results = both(1000, **ROUGH)
    row('2. 1 % refused, 0.2 % stall for 20 s: wall / limit, stalls counted in it',
        lambda r: f'{r.wall / r.limit:.2f}', results, '1.15')
    row('2. wall / limit without stalls',
        lambda r: f'{r.wall / (r.count * (CREATE + PIXELS) / 25):.2f}', results)
    row('2. fewer than 20 of 25 busy at the end', lambda r: f'{ending(r):.1f} s', results)


def item_3():
    """A quota of 40 requests at once and 100 a second; a chip takes two."""
    for workers in 25, 40, 100:
        results = both(4000 if workers > 40 else 2000, workers, **QUOTA)
        row(f'3. quota, {workers} workers: items a second / what it allows', lambda r: (
            f'{r.count / r.wall / min(50, min(workers, 40) / (r.held / r.count)):.2f}'), results,
            '0.90' if workers >= 40 else '')
        row(f'3. quota, {workers} workers: refused requests an item',
            lambda r: f'{r.throttled / r.count:.2f}', results, '1' if workers == 100 else '')


def item_4():
    """What it costs."""
    results, spawned = calm(), calm('spawn')
    row('4. CPU a chip', lambda r: f'{1000 * r.cpu / r.count:.1f} ms', results,
        f'{700 * results[0].cpu / results[0].count:.1f} ms')
    row('4. CPU a chip, spawn', lambda r: f'{1000 * r.cpu / r.count:.1f} ms', spawned)
    row('4. connections', lambda r: f'{r.connections:,}', results, 'one a worker and host')
    row('4. requests at start-up', lambda r: str(r.other), results)
    row('4. requests at start-up, spawn', lambda r: str(r.other), spawned)
    row('4. memory (PSS) a worker', lambda r: f'{r.pss:.0f} MB', results, '15 MB')
    row('4. memory (PSS) a worker, spawn', lambda r: f'{r.pss:.0f} MB', spawned, '60 MB')


def item_5():
    """More and more items at zero latency; the published pattern takes long, and cannot resume."""
    for count in 1000, 10000, 100000:
        with tempfile.TemporaryDirectory() as folder:
            old = run(published, count) if count == 1000 else None
            new = run(ours, count, folder=Path(folder))
            again = run(ours, count, folder=Path(folder))
        row(f'5. {count:,} items: items a second', lambda r: f'{r.count / r.wall:.0f}', [old, new])
        row(f'5. {count:,} items: of these the last 9/10', lambda r: (
            f'{0.9 * r.count / (when(r, r.count) - when(r, r.count / 10)):.0f}'), [old, new],
            'all within 10 %')
        row(f'5. {count:,} items: CPU a chip; cores busy, script + stand-in', lambda r: (
            f'{1000 * r.cpu / r.count:.1f} ms; {r.cpu / r.wall:.1f} + {r.served / r.wall:.1f}'),
            [old, new])
        row(f"5. {count:,} items: parent's memory", lambda r: f'{r.peak:.0f} MB', [old, new],
            '150 MB' if count == 100000 else '')
        row(f'5. {count:,} items: a complete folder, run again',
            lambda r: f'{r.wall:.1f} s, {sum(r.kinds.values())} requests', [None, again],
            '5 s, no request' if count == 100000 else '')


def item_6():
    """A short job; the run of median length of three, since each is short."""
    runs = [both(300, **CALM) for _ in range(3)]
    results = [sorted(pair, key=lambda r: r.wall)[1] for pair in zip(*runs)]
    starts = both(25, **CALM)
    row('6. 300 chips: wall / limit', lambda r: f'{r.wall / r.limit:.2f}', results, '1.20')
    row('6. CPU a chip', lambda r: f'{1000 * r.cpu / r.count:.1f} ms', results,
        'below published')
    row('6. start-up: CPU of a run of 25 chips', lambda r: f'{r.cpu:.1f} s', starts)
    row('6. start-up: requests', lambda r: str(r.other), results, '10')


def item_7():
    """One request in ten fails; the run of median length of three, since each is short."""
    runs = [both(300, **SPORADIC, seed=seed) for seed in range(3)]
    results = [sorted(pair, key=lambda r: r.wall)[1] for pair in zip(*runs)]
    row('7. 1 request in 10 fails, 300 chips: wall / limit', lambda r: f'{r.wall / r.limit:.2f}', results, '1.40')
    row('7. the longest of three', lambda r: f'{r.wall / r.limit:.2f}',
        [max(pair, key=lambda r: r.wall / r.limit) for pair in zip(*runs)])
    results = [None, run(ours, 400, concurrency=10, **CALM)]
    row('7. quota of 10, 25 workers: chips of 400', lambda r: str(r.files), results, '400')


def item_8():
    """Restricted mode: two requests at once, all others are refused."""
    results = {workers: run(ours, 40, workers, **RESTRICTED) for workers in (25, 2)}
    for workers, result in results.items():
        row(f'8. restricted mode, 40 chips, {workers} workers: requests, of these refused, time, rows in the log',
            lambda r: f'{sum(r.kinds.values())}, {r.throttled}, {r.wall:.0f} s, {r.rows}', [None, result],
            f'{4 / 3 * results[2].wall:.0f} s' if workers == 25 else '')


def main():
    """Runs the items that are asked for."""
    global standin
    numbers = sys.argv[1:] or list('12345678')
    if not set(numbers) <= set('12345678'):
        sys.exit(__doc__)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.platform()}, "
          f"earthengine-api {importlib.metadata.version('earthengine-api')}\n")
    with StandIn() as standin:
        with open(standin.folder / 'ca.pem', 'a') as file:  # to read it takes as long as it does
            file.write(Path(certifi.where()).read_text())  # with the real authorities
        both(25)  # so that all files have been read once
        print('| | published pattern | chips.py | target |\n|---|---|---|---|', flush=True)
        for number in numbers:
            globals()[f'item_{number}']()
    print(f'\nOther programmes kept {max(disturbed):.1f} cores busy in the worst run.')


if __name__ == '__main__':
    main()
