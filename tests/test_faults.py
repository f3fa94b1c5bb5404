"""A service that refuses, stalls and breaks: nothing lost, nothing half done, nothing hangs."""
import json
import re
import time

import pytest

from conftest import DEFAULTS, Folder

# tiny chips, and retries that don't make the test long: a user may set these as well
MANY = dict(SIZE=8, DEADLINE=3)
SERIES = dict(START='2020-01-01', END='2020-02-01', DEADLINE=3)
HASTY = ('delay=2, backoff=2, max_delay=5, jitter=(0, 1)', 'delay=.05, backoff=2, max_delay=.3, jitter=(0, .1)')


def hasten(folder):
    for script in 'chips.py', 'timeseries.py':
        folder.replace(script, *HASTY)
    return folder


@pytest.mark.parametrize('script,name,constants', [
    ('chips.py', 'chips', MANY), ('timeseries.py', 'timeseries', SERIES)])
def test_one_fault_in_five_requests(new_folder, standin, long, script, name, constants):
    if name == 'chips':
        constants = {**constants, 'POINTS_PER_ECOREGION': 500 if long else 100}
    calm, rough = hasten(new_folder()), hasten(new_folder())
    calm.edit(script, **constants).run(script)
    calm = calm.files(name)
    total = len(calm) - 1
    assert total == (201 if name == 'timeseries' else 2000 if long else 400)
    standin.set(faults='0.2,token=0.2', stall=2, broken='3', broken_text='Too many pixels.', gzip=0.3, chunked=0.3)
    standin.reset()
    printed = rough.edit(script, **constants).run(script, status=1)
    files, counts = rough.files(name), standin.counts()
    lost = set(calm) - set(files)
    assert len(lost) == 3 and f'{total - 3} of {total}' in printed
    assert '3 failed: Too many pixels.' in printed
    assert all(file in printed for file in lost)
    assert files == {file: body for file, body in calm.items() if file not in lost}
    assert not [path for path in (rough.path / name).iterdir() if path.name.endswith('.part')]
    happened = {fault for kind in counts['faults'].values() for fault in kind}
    assert len(happened) > 15  # of every kind
    secret = '|'.join(['ya29', '[0-9a-f]{32}-[0-9a-f]{32}', 'getPixels', 'getFeatures', 'Bearer'])
    assert not re.search(secret, printed)
    for path in (rough.path / name).glob('.*'):
        assert not re.search(secret, path.read_text(errors='replace'))


FEW = {'chips.py': dict(POINTS_PER_ECOREGION=6, SIZE=16, FORMAT='tif', DEADLINE=1, PROCESSES=8),
       'timeseries.py': dict(COUNTRIES=['Chile', 'Uruguay'], START='2020-01-01', END='2020-02-01', DEADLINE=1,
                             PROCESSES=8)}


@pytest.fixture(scope='module')
def calm(server, tmp_path_factory):
    """The files of runs of FEW that nothing disturbs."""
    server.set(**DEFAULTS)
    found = {}
    for script, constants in FEW.items():
        folder = Folder(tmp_path_factory.mktemp('calm'), server)
        folder.edit(script, **constants).run(script)
        found[script] = folder.files(script.removesuffix('.py'))
    return found


@pytest.mark.parametrize('script', FEW)
@pytest.mark.parametrize('kind', ['429', '500', '502', '503', '504', 'capacity', 'aggregations', 'reset',
                                  'eof', 'truncate', 'truncate-chunked', 'unframed', 'stall', 'drip', 'html',
                                  'json', 'junk', 'empty', '401', 'rate403', 'gzip', 'cut-gzip'])
def test_each_fault_is_survived(folder, calm, standin, kind, script):
    hasten(folder).edit(script, **FEW[script])
    # three refusals of a token in a row are final, and each stall costs a DEADLINE
    share = 0.1 if kind in ('401', 'stall', 'drip') else 0.3
    standin.set(faults=f'create={share},pixels={share},table={share},compute={share}', fault_kinds=kind, stall=3)
    folder.run(script)
    assert standin.counts()['faults']
    assert folder.files(script.removesuffix('.py')) == calm[script]


@pytest.mark.parametrize('status', [429, 500])
@pytest.mark.parametrize('kind', ['capacity', 'aggregations'])
def test_a_lack_of_capacity_is_survived_whatever_its_status(folder, calm, standin, kind, status):
    standin.set(behaviour={'capacity_status': status})
    test_each_fault_is_survived(folder, calm, standin, kind, 'chips.py')


def test_a_quota_of_10_and_25_workers(folder, standin):
    standin.set(concurrency=10, latency='create=0.02,pixels=0.1')
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=50, SIZE=8).run('chips.py')
    assert '200 of 200' in printed and standin.counts()['throttled'] > 0


def test_what_still_fails_after_all_tries_gets_another_round(folder, standin):
    """Two tries an item and one request in four refused: no item is lost."""
    hasten(folder).replace('chips.py', 'tries=12', 'tries=2')
    standin.set(faults='create=0.25,pixels=0.25', fault_kinds='429,503')
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=30, SIZE=8).run('chips.py')
    assert '120 of 120' in printed and 'failed' not in printed


def test_a_service_that_is_gone_ends_the_run(folder, standin):
    """No third round if the second was in vain."""
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, PROCESSES=4)
    standin.set(faults='create=1', fault_kinds='503')
    printed = folder.run('chips.py', status=1)
    assert '0 of 8' in printed and '8 failed: 503' in printed
    assert sum(standin.counts()['requests']['create'].values()) == 8 * 12


@pytest.mark.parametrize('body', ['json', 'html', 'text'])
def test_a_permanent_error_is_asked_for_once(folder, standin, body):
    standin.set(broken='5/40', behaviour={'error_body': body})
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8).run('chips.py', status=1)
    assert re.search('5 failed: .*User memory limit exceeded.', printed)
    counts = standin.counts()
    assert sum(counts['requests']['create'].values()) <= 40
    listed = (folder.path / 'chips' / '.failed.csv').read_text().splitlines()
    assert len(listed) == 5


@pytest.mark.parametrize('status', [403, 401])
def test_a_fatal_refusal_ends_the_run(folder, standin, status):
    standin.set(fatal_after=30, fatal_status=status)
    start = time.monotonic()
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=100, SIZE=8).run('chips.py', status=1)
    assert time.monotonic() - start < 15
    lines = [line for line in printed.splitlines() if '/400 [' not in line]
    assert len(lines) == 1, printed
    standin.set(**DEFAULTS)
    assert '400 of 400' in folder.run('chips.py')


def test_a_mistake_in_get_result_is_shown_once_with_its_line(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=50, SIZE=8)
    folder.replace('chips.py', "    half = SIZE * SCALE / 2", "    half = SIZE * SCALE / tow")
    line = next(n for n, text in enumerate(
        (folder.path / 'chips.py').read_text().splitlines(), 1) if ' / tow' in text)
    start = time.monotonic()
    printed = folder.run('chips.py', status=1)
    assert time.monotonic() - start < 20 and printed.count('NameError') == 1
    assert f'chips.py, line {line}' in printed and "'tow'" in printed
    assert re.search(r'first (\d+) all failed', printed)


def test_most_items_fail_at_once_and_the_rest_comes(folder, standin):
    """Failures are quicker than results: they come first."""
    standin.set(latency='pixels=3')
    folder.edit('chips.py', POINTS_PER_ECOREGION=50, SIZE=8)
    folder.replace('chips.py', '    around = ', "    index % 3 and {}['odd']\n    around = ")
    printed = folder.run('chips.py', status=1)
    assert '67 of 200' in printed and "133 failed: KeyError: 'odd'" in printed


def test_a_mistake_that_hits_some_items_is_counted(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=20, SIZE=8)
    folder.replace('chips.py', '    around = ', "    index % 10 or {}['tenth']\n    around = ")
    printed = folder.run('chips.py', status=1)
    assert re.search(r"8 failed: KeyError: 'tenth' \(chips.py, line \d+\)", printed)


def test_a_mistake_in_get_requests_ends_the_run(folder):
    folder.replace('chips.py', 'enumerate(sorted(points))', 'enumerate(sorted(pionts))')
    printed = folder.run('chips.py', status=1)
    assert re.search(r'NameError: .*pionts.*\(chips.py, line \d+\)', printed)
    assert len(printed.splitlines()) <= 2


def test_results_that_need_a_token(folder, standin):
    standin.set(get_needs_token=True, token_life=1.0)
    folder.edit('chips.py', POINTS_PER_ECOREGION=50, SIZE=8).run('chips.py')


def test_errors_at_create_or_at_get(new_folder, standin):
    for eager in False, True:
        standin.set(eager=eager, broken='3/40')
        standin.reset()
        printed = new_folder().edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8).run('chips.py', status=1)
        assert '3 failed' in printed


def test_pictures_with_alpha_or_without(new_folder, standin):
    for alpha in 'always', 'never', 'auto':
        standin.set(behaviour=f'png_alpha={json.dumps(alpha)}')
        new_folder().edit('chips.py', POINTS_PER_ECOREGION=3, SIZE=8).run('chips.py')


def test_several_files_an_item_each_fetched_once(folder, standin):
    """An item may write a second file; a fault in between doesn't fetch the first again."""
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=20, SIZE=8, DEADLINE=3)
    saving = "    save_chip(point['file'], mosaic, point['longitude'], point['latitude'])\n"
    folder.replace('chips.py', saving, saving + """    save(point['file'][:-3] + 'npy', lambda: download(
        mosaic.getDownloadURL({'format': 'NPY', 'region': around, 'scale': 100}), 'npy'))
""")
    standin.set(faults='pixels=0.3', fault_kinds='503,html')
    folder.run('chips.py')
    assert len(folder.files('chips')) == 161
    counts = standin.counts()
    assert counts['requests']['pixels']['200'] - sum(
        kind.get('html', 0) for kind in counts['faults'].values()) == 160
