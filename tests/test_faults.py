"""A service that refuses, stalls and breaks: nothing lost, nothing half done, nothing hangs."""
import collections
import contextlib
import functools
import http.server
import json
import re
import ssl
import textwrap
import threading
import time
import types
from pathlib import Path

import numpy as np
import pandas
import pytest
import tifffile
import trustme
from PIL import Image

import sentences
from conftest import BRIEF, DEFAULTS, LIMIT, Folder, StandIn, hasten, said
from test_chips import MIDDLE, expected, write_points

# tiny chips, and tries that don't make the test long: a user may set these as well
MANY = dict(SIZE=8, DEADLINE=3, PROCESSES=25)
SERIES = dict(START='2020-01-01', END='2020-02-01', DEADLINE=3, PROCESSES=25)
SECRET = re.compile('ya29|[0-9a-f]{32}-[0-9a-f]{32}|getPixels|getFeatures|Bearer|refresh-token')


def outcomes(folder, name):
    """{file: [outcome, ...]} by the log."""
    found = collections.defaultdict(list)
    for row in folder.log(name):
        if row['file']:  # others are about the run
            found[row['file']].append(row['outcome'])
    return found


def rows_so_far(folder, name):
    """The rows of a log that may not be there yet."""
    return folder.log(name) if (folder.path / name / 'log.csv').exists() else []


def own_result(folder, code):
    """Gives chips.py a getResult(index, item) of its own."""
    return folder.add('chips.py', f'\n@retry(**PATIENCE)\ndef getResult(index, item):\n'
                                  f'{textwrap.indent(textwrap.dedent(code).strip(), "    ")}')


def before_result(folder, code):
    """Has chips.py do something before its own getResult(index, item)."""
    return folder.add('chips.py', f'\nits_own = getResult\n\n\n@retry(**PATIENCE)\ndef getResult(index, item):\n'
                                  f'{textwrap.indent(textwrap.dedent(code).strip(), "    ")}\n'
                                  '    return its_own(index, item)')


@pytest.mark.parametrize('script,name,constants', [
    pytest.param('chips.py', 'chips', MANY, id='chips'),
    pytest.param('timeseries.py', 'timeseries', SERIES, id='timeseries')])
def test_one_fault_in_five_requests(new_folder, standin, long, script, name, constants):
    if name == 'chips':
        # the usual lattice of the tests has too few places for so many
        constants = {**constants, 'POINTS_PER_ECOREGION': 500, 'SPACING': 100} if long else {
            **constants, 'POINTS_PER_ECOREGION': 50}
    calm, rough = hasten(new_folder()), hasten(new_folder())
    calm.edit(script, **constants).run(script)
    calm = calm.files(name)
    total = len(calm) - 1
    assert total == (201 if name == 'timeseries' else 2000 if long else 200)
    standin.set(faults='0.2,token=0.2', stall=2, broken='3', broken_text='Too many pixels.', gzip=0.3, chunked=0.3)
    standin.reset()
    printed = rough.edit(script, **constants).run(script, status=1)
    files, counts = rough.files(name), standin.counts()
    lost = set(calm) - set(files)
    assert len(lost) == 3 and f'{total - 3} of {total}' in printed
    assert '3 failed: Too many pixels.' in printed
    assert all(file in printed for file in lost)
    assert files == {file: body for file, body in calm.items() if file not in lost}
    assert {path.name for path in (rough.path / name).iterdir()} == {
        *files, 'log.csv', '.lock', '.list.json'}
    happened = {fault for kind in counts['faults'].values() for fault in kind}
    assert len(happened) > 15  # of every kind
    told = printed + ''.join(path.read_text(errors='replace') for path in (rough.path / name).glob('*.*')
                             if path.suffix in ('.csv', '.json'))
    assert not SECRET.search(told)
    # the log tells all, and ends with what became of each
    found = outcomes(rough, name)
    assert all(ends[0] == 'begun' and ends[-1] == ('failed' if file in lost else 'done')
               for file, ends in found.items()) and len(found) == total
    assert sum(ends.count('retry') for ends in found.values()) > total / 10
    table = pandas.read_csv(rough.path / name / 'log.csv', parse_dates=['time'])
    assert list(table) == ['time', 'file', 'outcome', 'why'] and table.time.notna().all()
    assert set(table.outcome) <= {'list', 'begun', 'retry', 'again', 'failed', 'done'}


FEW = {'chips.py': dict(POINTS_PER_ECOREGION=4, SIZE=16, FORMAT='tif', DEADLINE=1),
       'timeseries.py': dict(COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-02-01', DEADLINE=1)}


@pytest.fixture(scope='module')
def calm(server, tmp_path_factory):
    """Gives the files of a run of FEW that nothing disturbs."""
    @functools.cache
    def files(script):
        server.set(**DEFAULTS)
        folder = Folder(tmp_path_factory.mktemp('calm'), server)
        folder.edit(script, **FEW[script]).run(script)
        return folder.files(script.removesuffix('.py'))
    return files


# what comes in place of an answer, or is done to one: pictures and tables have to notice it
ANSWERS = ['truncate', 'truncate-chunked,unframed,empty', 'html,json,junk,list', 'gzip,cut-gzip',
           'braces,no-error,no-message', 'bad-chunk,bad-redirect']
# what the door for all requests tells from an answer, in both scripts by the same text
REFUSALS = ['503', 'reset', 'stall', 'drip', '401', 'eof,408,409,429', '499,500,502,504',
            'capacity,aggregations,quota-aggregations,rate403', 'reason403,page403,expired', 'escapes,restricted']


@pytest.mark.parametrize('script,kinds', [
    pytest.param(script, kinds, marks=[BRIEF] * (kinds in ('503', 'reset', 'stall', 'truncate')))
    for script, faults in (('chips.py', REFUSALS + ANSWERS), ('timeseries.py', ['503', 'stall'] + ANSWERS[:3] + ANSWERS[4:5]))
    for kinds in faults])
def test_each_fault_is_survived(folder, calm, standin, kinds, script, **behaviour):
    files = calm(script)
    standin.reset()
    hasten(folder).edit(script, **FEW[script])
    # each stall costs a DEADLINE, and three in a row the item's turn
    share = 0.1 if kinds in ('401', 'stall', 'drip') else 0.5
    standin.set(faults=f'create={share},pixels={share},table={share},compute={share}', fault_kinds=kinds, stall=3,
                behaviour=behaviour)
    folder.run(script)
    happened = {fault for counts in standin.counts()['faults'].values() for fault in counts}
    assert happened == {*kinds.split(',')}
    assert folder.files(script.removesuffix('.py')) == files
    if kinds in ('stall', 'drip'):
        assert 'no answer within 1 seconds (DEADLINE)' in str(folder.log(script.removesuffix('.py')))


def test_headers_in_small_letters(folder, standin):
    """As some proxies send them."""
    standin.set(lower_headers=True)
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PAUSES=[]).run('chips.py')
    assert '4 of 4' in printed and not [row for row in folder.log('chips') if row['outcome'] == 'retry']


def test_a_first_token_that_is_a_list(folder, standin):
    """And nothing else for a while, of which google.auth makes a TypeError."""
    standin.set(faults='token=0.7', fault_kinds='list', start_method='spawn')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=3, SIZE=8, PROCESSES=6)
    printed = folder.run('chips.py')
    assert standin.counts()['faults']['token']
    assert '12 of 12' in printed and 'failed' not in {row['outcome'] for row in folder.log('chips')}


def test_a_token_that_is_refused_now_and_then(folder, standin):
    """What google.auth calls retryable is tried again."""
    standin.set(token_life=1, faults='token=0.7', fault_kinds='500,503', latency='pixels=0.3')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=3, PAUSES=[0, 0, 0])
    printed = folder.run('chips.py')
    assert '20 of 20' in printed and not [row for row in folder.log('chips') if row['outcome'] == 'failed']



@pytest.mark.parametrize('status', [429, 500])
@pytest.mark.parametrize('kind', ['capacity', 'aggregations'])
def test_a_lack_of_capacity_is_survived_whatever_its_status(folder, calm, standin, kind, status):
    test_each_fault_is_survived(folder, calm, standin, kind, 'chips.py', capacity_status=status)


def test_a_url_is_tried_again_before_another_is_asked_for(folder, standin):
    """Four times: of 40 chips hardly any needs a second one, where three in ten fetches fail."""
    standin.set(faults='pixels=0.3', fault_kinds='429,503,reset')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8).run('chips.py')
    counts = standin.counts()
    assert sum(counts['faults']['pixels'].values()) > 5
    assert 40 <= sum(counts['requests']['create'].values()) <= 44


@pytest.mark.parametrize('status,body', [
    (400, 'json'), (401, 'json'), (403, 'json'), (404, 'json'), (400, 'html'), (404, 'html'), (410, 'text')])
def test_an_id_that_has_expired_is_asked_for_anew(folder, standin, status, body):
    """Whatever it is answered, as no source says: with the next try, as it stays so; where it may
    as well be a mistake of the script, once."""
    standin.set(faults='pixels=0.3', fault_kinds='expired', behaviour={
        'expired_status': status, 'error_body': body, 'expired_words': 'expired_other'})
    run = hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8).start('chips.py')
    run.communicate(timeout=LIMIT)
    counts = standin.counts()
    expired, failed = counts['faults']['pixels']['expired'], 20 - counts['results']
    assert expired > 2 * failed and (failed == 0 or status == 400)
    assert counts['requests']['create'] == {'200': 20 + expired - failed}
    assert counts['requests']['pixels'] == {'200': 20 - failed, str(status): expired}


def test_an_error_in_unknown_words_costs_two_requests_and_two_fetches(folder, standin):
    """As it might have been an id that has expired."""
    standin.set(broken_match='.', broken_text='Too many pixels.')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8).run('chips.py', status=1)
    counts = standin.counts()['requests']
    assert counts['create'] == {'200': 16} and counts['pixels'] == {'400': 16}


def test_a_quota_of_10_and_25_workers(tmp_path):
    """A stand-in of its own: that of all tests may still hold requests of runs that were killed."""
    with StandIn(concurrency=10, latency='create=0.02,pixels=0.1') as standin:
        folder = Folder(tmp_path, standin).edit('chips.py', POINTS_PER_ECOREGION=50, SIZE=8, PROCESSES=25)
        assert '200 of 200' in folder.run('chips.py') and standin.counts()['throttled'] > 0


@BRIEF
def test_what_still_fails_after_all_tries_gets_another_round(folder, standin):
    """Two tries an item and one request in four refused: no item is lost, and rounds in which nothing comes,
    as the last items may have no luck, are only waited for."""
    hasten(folder).replace('chips.py', 'tries=20', 'tries=2').edit('chips.py', PAUSES=[0] * 20)
    standin.set(faults='create=0.25,pixels=0.25', fault_kinds='429,503')
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=30, SIZE=8).run('chips.py')
    *rounds, end = said(printed)
    assert end == '120 of 120 are in chips, listed in chips.csv.'
    assert set(rounds) <= {'Nothing came in this round. The next try is in 0 minutes.'}
    assert 'again' in sum(outcomes(folder, 'chips').values(), [])


def test_a_round_that_brought_something_is_followed_by_another_at_once(folder, standin):
    """One item fails twice, and so in all its tries of the first round."""
    hasten(folder).replace('chips.py', 'tries=20', 'tries=2')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, PROCESSES=1, PAUSES=[0]).run('chips.py', '--first', '1')
    standin.set(faults_in_turn='create=503 503')
    assert said(folder.run('chips.py')) == ['4 of 4 are in chips, listed in chips.csv.']
    assert sum(row['outcome'] == 'again' for row in folder.log('chips')) == 1


def test_a_service_that_is_gone_is_waited_for_and_then_left(folder, standin):
    hasten(folder).replace('chips.py', 'tries=20', 'tries=5')
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8, PROCESSES=4, PAUSES=[0.01, 0.05])
    standin.set(faults='create=1', fault_kinds='503')
    printed = folder.run('chips.py', status=1)
    assert '0 of 8' in printed and '8 again: 503 Service Unavailable' in printed
    assert 'next try is in 0.01 minutes' in printed and 'next try is in 0.05 minutes' in printed
    assert sum(standin.counts()['requests']['create'].values()) == 3 * 8 * 5
    begun, again = ([pandas.Timestamp(row['time']) for row in folder.log('chips') if row['outcome'] == outcome]
                    for outcome in ('begun', 'again'))
    assert (begun[16] - again[15]).total_seconds() >= 2  # from the second round to the third: 3


def test_an_outage_is_survived(folder, standin):
    """It lasts for longer than an item is tried, and begins with few items left."""
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=10, PAUSES=[0.05, 0.05, 0.05])
    folder.run('chips.py', '--first', '15')
    standin.set(faults='create=1,pixels=1', fault_kinds='503,reset')
    run = folder.start('chips.py')
    while sum(row['outcome'] == 'again' for row in folder.log('chips')) < 5:
        assert run.poll() is None
        time.sleep(0.1)
    standin.set(**DEFAULTS)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '20 of 20' in err and 'Nothing came in this round' in err


def test_pauses_begin_anew_after_a_round_that_brought_something(folder, standin):
    """Two outages, and one pause would not do for both."""
    standin.set(latency='pixels=0.4')
    hasten(folder).replace('chips.py', 'tries=20', 'tries=1')
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8, PROCESSES=4, PAUSES=[0.05])
    before_result(folder, """
        if pathlib.Path('down').exists():
            raise ConnectionError('an outage')""")
    (folder.path / 'down').touch()
    run = folder.start('chips.py')

    def wait_for_the_pause():
        assert any('Nothing came in this round' in line for line in run.stderr)
    wait_for_the_pause()
    (folder.path / 'down').unlink()
    while not len(list((folder.path / 'chips').glob('*.png'))) > 3:
        time.sleep(0.05)
    (folder.path / 'down').touch()
    wait_for_the_pause()
    (folder.path / 'down').unlink()
    rest = run.stderr.read()
    assert run.wait(LIMIT) == 0 and '20 of 20' in rest and 'Nothing came in this round' not in rest


def test_a_permanent_error_is_asked_for_once_a_run(folder, standin):
    standin.set(broken='5')
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8)
    for _ in range(2):
        standin.reset()
        printed = folder.run('chips.py', status=1)
        assert re.search(r'5 failed: User memory limit exceeded. Lower SIZE.* \(.*, ...\)', printed)
        assert re.search(r'\b35/40 \[.*5 failed', printed)  # by the bar
        assert ('Run it again to try these again, with --keep if you mend the script first; chips/log.csv tells of '
                'each try.') in printed
    counts = standin.counts()
    assert sum(counts['requests']['create'].values()) == 5
    assert sum(ends.count('failed') for ends in outcomes(folder, 'chips').values()) == 10


@pytest.mark.parametrize('status', [403, 400, 404, 413])
def test_a_refusal_is_that_of_its_item(folder, standin, status):
    """The others come; a next run asks again."""
    standin.set(broken='2', broken_text='Caller may not do this.', broken_status=status, eager=True)
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8)
    printed = folder.run('chips.py', status=1)
    assert '38 of 40' in printed and '2 failed: Caller may not do this.' in printed
    standin.set(**DEFAULTS)
    assert '40 of 40' in folder.run('chips.py')


def test_a_sign_in_that_is_lost_is_said(folder, standin):
    standin.set(fatal_after=30, fatal_status=401)
    printed = hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=15, SIZE=8).run('chips.py', status=1)
    assert re.search(r'\d+ failed: .*expired or revoked', printed)
    standin.set(**DEFAULTS)
    assert '60 of 60' in folder.run('chips.py')


def test_one_result_in_fifty_is_no_reason_to_stop(folder, standin):
    """Failures are quicker than results: they come first."""
    standin.set(latency='pixels=1')
    folder.edit('chips.py', POINTS_PER_ECOREGION=50, SIZE=8)
    before_result(folder, "index % 50 and {}['odd']")
    printed = folder.run('chips.py', status=1)
    assert '4 of 200' in printed and "196 failed: KeyError: 'odd'" in printed


def test_a_mistake_in_get_result_is_shown_once_with_its_line(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=50, SIZE=8)
    own_result(folder, "save_chip(item, None, item['longitude'], lattitude)")
    line = next(n for n, text in enumerate(
        (folder.path / 'chips.py').read_text().splitlines(), 1) if 'lattitude' in text)
    told = said(folder.run('chips.py', status=1))
    assert told[0].startswith('0 of 200')
    assert told[1].startswith("200 failed: NameError: name 'lattitude' is not defined") and (
        f'(chips.py, line {line})' in told[1])
    assert told[2].startswith('Mend the script, then run it with --keep')


def test_reasons_are_told_by_kind(folder):
    """The most frequent first; '...' where those of a kind differ; remarks of what is done exactly."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=20, SIZE=8)
    own_result(folder, """
        check(index % 20 > 1, 'a rare one')
        check(index % 4, f"No. {index} of 80: 'place {index}' is odd.")
        if index % 4 == 1:
            raise Nothing(f'no image from 2016-08-{index % 3 + 1:02}')
        save(item, lambda: b'x')
        return f'{index % 4} of 24 images'""")
    told = said(folder.run('chips.py', status=1))
    assert told[0].startswith('40 of 80')
    groups = dict(line.rstrip(')').split(' (') for line in told[1:-1])
    assert [*groups] == [
        '20 done: 2 of 24 images', '20 done: 3 of 24 images', "16 failed: No. ... of 80: ... is odd.",
        '16 nothing: no image from 2016-08-...', '8 failed: a rare one'] and all(
            re.fullmatch(r'(chip_\d+\.png, ){3}\.\.\.', files) for files in groups.values())


def test_a_long_error_is_cut_and_told_in_a_line(folder, standin):
    standin.set(broken_match='.', broken_text='Not\ntoday.  ' * 500)
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8).run('chips.py', status=1)
    line, = [line for line in said(printed) if line.startswith('8 failed: Not today. Not today. Not')]
    row, *_ = [row for row in folder.log('chips') if row['outcome'] == 'failed']
    assert len(line) < 1100 > len(row['why'])


def test_more_kinds_of_reasons_than_are_told(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8)
    before_result(folder, "check(index < 3, 'x' * index)")
    told = said(folder.run('chips.py', status=1))
    assert len(told) == 23 and told[-2].startswith('... and 17 more reasons')


def test_a_mistake_in_get_requests_ends_the_run(folder):
    folder.replace('chips.py', 'enumerate(sorted(points))', 'enumerate(sorted(pionts))')
    line, = said(folder.run('chips.py', status=1))
    assert re.search(r'NameError: .*pionts.*\(chips.py, line \d+\)', line)


def test_results_are_asked_for_without_token_and_project(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8).run('chips.py')
    folder.edit('timeseries.py', COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-02-01')
    folder.run('timeseries.py')
    counts = standin.counts()
    assert counts['results'] == 32 and not counts['credentials_with_results']


def test_errors_at_create_or_at_get(new_folder, standin):
    for eager in False, True:
        standin.set(eager=eager, broken='3')
        standin.reset()
        printed = new_folder().edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8).run('chips.py', status=1)
        assert '37 of 40' in printed and '3 failed' in printed


HIDDEN = [  # abcdef may not be told
    'projects/p/thumbnails/0123456789abcdef0123456789abcdef-fedcba9876543210', 'maps/0123456789abcdef-abcdef',
    'tables%2F0123456789abcdef-abcdef', 'ya29.a0-b_c.abcdef', '1//09abcdef-abcdef', 'Bearer abcdef',
    'https://x/?access_token=abcdef&y=1', 'refresh_token=abcdef&y', 'client_secret=abcdef z',
    '"client_secret": "abcdef"', 'Authorization: abcdef', "{'authorization': 'Bearer abcdef'}",
    'Authorization: Basic abcdef', 'Proxy-Authorization: Basic abcdef', 'assertion=abcdef', 'subject_token=abcdef',
    'http://me:abcdef@proxy.org:8080/']


def test_secrets_in_errors_are_not_told(folder, standin):
    """Nor in the log; the rest of the message is."""
    standin.set(broken='1', broken_text='Not today: ' + ' | '.join(HIDDEN))
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8).run('chips.py', status=1)
    for told in printed, (folder.path / 'chips' / 'log.csv').read_text():
        assert 'Not today: projects/p/...' in told and 'https://x/?...&y=1 |' in told
        assert '...&y |' in told and 'proxy.org:8080/' in told
        assert 'abcdef' not in told and 'fedcba' not in told


def test_secrets_in_other_errors_are_not_told(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    own_result(folder, "raise ValueError('Bearer abcdef')")
    printed = folder.run('chips.py', status=1)
    assert '4 failed: ValueError: ...' in printed
    assert 'abcdef' not in printed + (folder.path / 'chips' / 'log.csv').read_text()


PICTURE = """
    around = ee.Geometry.Point(item['longitude'], item['latitude']).buffer(100)
    image, shape = ee.Image(index).toByte(), {'dimensions': 8, 'region': around}
    """
TABLE = """
    table = ee.FeatureCollection([ee.Feature(None, {'n': 1, 't': 'São "x", y'})])
    """
ONE_TABLE = "table.getDownloadURL('csv', ['n', 't'])"
JPEG = "image.getThumbURL({**shape, 'format': 'jpg', 'min': 0, 'max': 255})"


@pytest.mark.parametrize('fetched,kind,words', [
    pytest.param(JPEG, 'png', "'png' and got b'\\xff\\xd8", id='jpg for png'),
    pytest.param("image.getDownloadURL({**shape, 'format': 'NPY'})", 'tif', "'tif' and got b\"\\x93NUMPY",
                 id='npy for tif'),
    pytest.param(ONE_TABLE, ['t', 'n'], "['t', 'n'] and got b'n,t", id='other order'),
    pytest.param(ONE_TABLE, 'n,other', "'n,other' and got b'n,t", id='other columns'),
    pytest.param(ONE_TABLE, 'png', "'png' and got b'n,t", id='table for png'),
    pytest.param(JPEG, 'n,t', "'n,t' and got b'\\xff\\xd8", id='jpg for table')])
def test_another_kind_as_a_whole_is_failed_at_once(folder, standin, fetched, kind, words):
    """It says what came, after one request."""
    write_points(folder, (-105.24, 40.03), (-105.25, 40.03))
    own_result(folder, f'{PICTURE}{TABLE}save(item, lambda: download({fetched}, {kind!r}))')
    told, = [line for line in said(folder.run('chips.py', status=1)) if line.startswith('2 failed')]
    assert standin.counts()['requests'][('table' if 'table' in fetched else 'pixels')] == {'200': 2}
    assert words in told and len(told) < 250


@pytest.mark.parametrize('bom', ['', '\ufeff'])
@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_headers_are_compared_as_csv(folder, standin, newline, bom):
    standin.set(behaviour={'csv_newline': newline, 'csv_bom': bom, 'csv_quotes': bool(bom)})
    few = dict(COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-02-01')
    folder.edit('timeseries.py', **few).run('timeseries.py')
    assert all(body.startswith(b'date,LST_Day_1km\n2020-01-01,') for name, body in
               folder.files('timeseries').items() if name != 'regions.csv')


def test_an_empty_table_is_its_header(folder, standin):
    write_points(folder, (-105.24, 40.03))
    own_result(folder, """
        table = ee.FeatureCollection([]).filter(ee.Filter.eq('n', 1))
        save(item, lambda: download(table.getDownloadURL('csv', ['n', 't']), 'n,t'))""")
    for empty in False, True:
        standin.set(behaviour={'csv_empty': 'nothing' if empty else 'header'})
        standin.reset()
        output = f'chips {empty}'
        folder.edit('chips.py', OUTPUT=output).run('chips.py')
        assert folder.files(output)['0.png'] == b'n,t\n'
        # no source says that a table may come without a byte: it is asked for twice more, and told
        assert standin.counts()['requests']['table'] == {'200': 3 if empty else 1}
        warned = [row['why'] for row in folder.log(output) if row['outcome'] == 'warning']
        assert warned == ['a table came without a byte three times, and is taken to have no rows'] * empty


def test_a_table_without_a_byte_is_no_empty_one(folder, standin):
    """Where it comes as it is when it is asked for again."""
    standin.set(faults='table=0.4', fault_kinds='empty')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=3, SIZE=8)
    own_result(folder, f'{TABLE}save(item, lambda: download({ONE_TABLE}, ["n", "t"]))'.replace("'n': 1", "'n': index"))
    folder.run('chips.py')
    assert standin.counts()['faults']['table']['empty'] > 3
    doubted = [row['file'] for row in folder.log('chips') if row['outcome'] == 'warning']  # empty three times
    short = [name for name, body in folder.files('chips').items() if body.count(b'\n') < 2]
    assert sorted(short) == sorted(doubted) and len(doubted) < 4


@BRIEF
def test_rows_that_are_missing_are_asked_for_again(folder, standin):
    """A table that is cut off at the end of a row, but whole as an answer, is not taken for all."""
    standin.set(faults='table=0.3', fault_kinds='rows')
    hasten(folder).edit('timeseries.py', **FEW['timeseries.py']).run('timeseries.py')
    assert standin.counts()['faults']['table']
    assert {body.count(b'\n') for name, body in folder.files('timeseries').items()
            if name != 'regions.csv'} == {5}
    assert 'again' not in str(outcomes(folder, 'timeseries').values())  # but in the same round


@pytest.mark.parametrize('form', ['png', 'jpg'])
def test_half_a_picture_is_asked_for_again(folder, standin, form):
    """It is whole as an answer, but its end is missing."""
    standin.set(faults='pixels=0.4', fault_kinds='half')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=16, FORMAT=form).run('chips.py')
    assert standin.counts()['faults']['pixels']
    assert 'again' not in sum(outcomes(folder, 'chips').values(), [])  # half of one is not kept
    for row in folder.table('chips/chips.csv'):
        image = Image.open(folder.path / 'chips' / row['file'])
        image.load()  # raises where a part is missing
        assert image.size == (16, 16)


def test_a_result_whose_length_nothing_tells_is_asked_for_again(folder, standin):
    """As half of it ends just as well; a tif has no mark at its end."""
    standin.set(faults_in_turn='pixels=unframed unframed unframed unframed')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=16, FORMAT='tif').run('chips.py')
    assert standin.counts()['faults']['pixels'] == {'unframed': 4} and standin.counts()['results'] == 4
    for row in folder.table('chips/chips.csv'):  # where a part is missing this raises
        assert tifffile.imread(folder.path / 'chips' / row['file']).size == 16 * 16 * 3


def test_an_error_that_is_cut_off_is_asked_for_again(folder, standin):
    """With nothing that tells where it ends but its own form; what is told is all of it."""
    standin.set(broken_match='.', broken_text='Too many pixels.', faults='pixels=0.6', fault_kinds='unframed')
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8)
    told = said(folder.run('chips.py', status=1))
    assert standin.counts()['faults']['pixels']
    assert [line.split(' (')[0] for line in told if 'failed' in line] == ['8 failed: Too many pixels.']


def test_what_does_not_exist_is_asked_for_once(folder, standin):
    """Though an id that has expired has the same status."""
    words = "Image.load: Image asset 'a/b' not found (does not exist or caller does not have access)."
    standin.set(broken_match='.', broken_status=404, broken_text=words)
    printed = hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8).run('chips.py', status=1)
    assert f'8 failed: {words}' in printed and standin.counts()['requests']['pixels'] == {'404': 8}


@pytest.mark.parametrize('how', ['chunked', 'gzip'])
def test_answers_in_chunks_or_compressed(folder, standin, how):
    standin.set(**{how: 1})
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    assert standin.counts()['requests']['pixels'] == {'200': 4}


def test_tries_follow_each_other_with_a_growing_delay(folder, standin):
    """Six of them, 0.1 s after the first and 1 s after the sixth, 2.6 in all but for jitter."""
    standin.set(faults='create=1', fault_kinds='503')
    write_points(folder, (-105.24, 40.03)).edit('chips.py', SIZE=8)
    folder.replace('chips.py', 'tries=20', 'tries=7').replace('chips.py', 'jitter=(0, 0.5)', 'jitter=0')
    folder.run('chips.py', status=1)
    begun, *_, again = [pandas.Timestamp(row['time']) for row in folder.log('chips')]
    assert (again - begun).total_seconds() >= 2 and standin.counts()['requests']['create'] == {'503': 7}


def test_a_list_of_deprecated_assets_that_does_not_come(folder, standin):
    """The client asks for it with no limit of its own; here a minute lasts 2 seconds."""
    standin.set(faults='catalog=1', fault_kinds='stall', stall=600)
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    folder.replace('chips.py', 'import socket\n', '''import socket
limit = socket.setdefaulttimeout
socket.setdefaulttimeout = lambda seconds: limit(seconds / 30)
''')
    assert '4 of 4' in folder.run('chips.py')


@pytest.mark.parametrize('delay,faults,after', [
    pytest.param(0, '', 'time.sleep(1.5)', id='a long work after it'),
    pytest.param(0, 'pixels=0.5', 'time.sleep(1.5)', id='after an error'),
    pytest.param(1.5, 'create=0.5', 'pass', id='a long delay')])
def test_a_timer_ends_with_its_request(folder, standin, delay, faults, after):
    """What is done after an answer, or an error, may take longer than DEADLINE."""
    standin.set(faults=faults, fault_kinds='reset,503')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8, DEADLINE=1)
    folder.replace('chips.py', 'delay=0.1, backoff=1.6, jitter=(0, 0.5), max_delay=3', f'delay={delay}')
    own_result(folder, f"{PICTURE}save_chip(item, image, item['longitude'], item['latitude'])\n    {after}")
    folder.run('chips.py')
    assert {ends[-1] for ends in outcomes(folder, 'chips').values()} == {'done'}
    assert 'again' not in str(outcomes(folder, 'chips').values())


def test_what_came_is_no_failure_whatever_came_after(folder):
    """A connection that breaks off when a result is saved."""
    hasten(folder).replace('chips.py', 'tries=20', 'tries=2')
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    own_result(folder, "save(item, lambda: b'x')\nraise ConnectionError('after that')")
    printed = folder.run('chips.py')
    assert '4 of 4' in printed and 'after that' not in printed.split('4 of 4')[-1]


def test_a_file_is_there_whole_or_not_at_all(folder):
    """Where no file can be longer than 20,000 bytes, as on a disk that is full."""
    write_points(folder, (-105.24, 40.03), (-105.34, 40.03)).edit('chips.py', FORMAT='npy', SIZE=100)
    printed = folder.run('-c', 'import os, resource, sys; '
                         'resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY)); '
                         'os.execv(sys.executable, [sys.executable, "chips.py"])', status=1)
    assert re.search(r'2 failed: .*File too large', printed) and list(folder.files('chips')) == ['chips.csv']
    folder.run('chips.py')
    assert sorted(path.name for path in (folder.path / 'chips').iterdir()) == [
        '.list.json', '.lock', '0.npy', '1.npy', 'chips.csv', 'log.csv']


PATCH = 'import filelock\n'


def test_a_file_is_on_the_disk_before_it_has_its_name(folder):
    """All of it, so that a power cut leaves no empty one."""
    write_points(folder, (-105.24, 40.03), (-105.34, 40.03)).edit('chips.py', SIZE=8)
    folder.replace('chips.py', PATCH, PATCH + '''

def note_down(number, really=os.fsync):
    really(number)
    with open('synced.csv', 'a') as file:
        print(os.path.basename(os.readlink(f'/proc/self/fd/{number}')), os.fstat(number).st_size,
              sep=',', file=file)


os.fsync = note_down
''').run('chips.py')
    synced = dict(line.split(',') for line in (folder.path / 'synced.csv').read_text().splitlines())
    for name in '0.png', '1.png':
        there, = [int(size) for path, size in synced.items() if path.endswith(name) and path != name]
        assert there == len(folder.files('chips')[name])


def test_a_file_that_a_scanner_holds_is_waited_for(folder, standin):
    """As on Windows, where another program may open a new file at once."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).replace('chips.py', PATCH, PATCH + '''

held = collections.Counter()


def hold(old, new, really=os.replace):
    held[new] += 1
    if held[new] < 3:
        raise PermissionError(13, 'Another program has it')
    really(old, new)


os.replace = hold
''')
    assert '4 of 4' in folder.run('chips.py') and standin.counts()['results'] == 4


@contextlib.contextmanager
def local_server(handler, folder):
    """Serves on this computer, past the proxy of the folder's runs; gives the address."""
    environ, authority = folder.standin.environ, trustme.CA()
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert('127.0.0.1').configure_cert(tls)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    both = folder.path / 'both.pem'
    both.write_bytes(Path(environ['REQUESTS_CA_BUNDLE']).read_bytes() + authority.cert_pem.bytes())
    folder.standin = types.SimpleNamespace(
        environ={**environ, 'NO_PROXY': '127.0.0.1', 'REQUESTS_CA_BUNDLE': str(both)})
    yield f'https://127.0.0.1:{server.server_address[1]}/'
    server.shutdown()


def test_other_hosts_may_answer_in_plain_text(folder):
    """A credential server need not speak JSON, whatever its status."""
    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if 'gone' in self.path else 200)
            self.end_headers()
            self.wfile.write(b'a subject token')

        def log_message(self, *_):
            pass
    with local_server(Server, folder) as url:
        printed = folder.run('-c', f"import chips; print(*chips.send('{url}'), chips.send('{url}gone')[0].status)")
    assert "b'a subject token' 404" in printed


@pytest.mark.parametrize('alpha', ['always', 'never', 'auto'])
def test_pictures_with_alpha_or_without(folder, standin, alpha):
    """Both are taken, and show the same."""
    standin.set(behaviour=f'png_alpha={json.dumps(alpha)}')
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=16).run('chips.py')
    for row in folder.table('chips/chips.csv'):
        image = Image.open(folder.path / 'chips' / row['file'])
        assert image.mode == ('RGBA' if alpha == 'always' else 'RGB')
        assert (np.array(image)[..., :3] == expected(row, 16, 1)[..., :3]).mean() > 0.99
        assert (np.array(image)[..., 3:] == 255).all()


def test_save_takes_the_item_and_bytes(new_folder):
    """One file an item, so that none gets lost unseen; each mistake with its line."""
    for code, words in (
            ("save({'file': 'shared.txt'}, lambda: b'x')", 'ValueError: save() takes the item that getResult() got'),
            ('pass', 'getResult() did not save() its file.'),
            ("save(item, lambda: 'text')", 'ValueError: save() writes bytes, and make() returned a str'),
            ("save(item, lambda: b'')", 'ValueError: save() writes bytes, and make() returned none'),
            ("import numpy\nsave(item, lambda: numpy.ones(3))",
             'ValueError: save() writes bytes, and make() returned a ndarray')):
        folder = own_result(new_folder().edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8), code)
        printed = folder.run('chips.py', status=1)
        assert f'8 failed: {words}' in printed
        text = (folder.path / 'chips.py').read_text()
        last = code.splitlines()[-1]
        line = text[:text.index(f'    {last}\n')].count('\n') + 1 if 'save()' in words[:20] else 0
        assert re.findall(r'\(chips.py, line (\d+)\)', str(said(printed))) == [str(line)] * bool(line)
        assert set(folder.files('chips')) == {'chips.csv'}


def test_what_came_is_not_asked_for_again(folder, standin):
    """An item whose getResult() is called again, before it has saved or after."""
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8)
    own_result(folder, f"""{PICTURE}
    ee.Number(index).getInfo()
    save_chip(item, image, item['longitude'], item['latitude'])
    ee.Number(index + 1000).getInfo()""")
    standin.set(faults='compute=0.4,pixels=0.3', fault_kinds='429', seed=3)
    folder.run('chips.py')
    counts = standin.counts()
    assert counts['faults']['compute'] and counts['faults']['pixels'] and counts['results'] == 20
    assert counts['requests']['create'] == {'200': 20}
    assert counts['requests']['compute']['200'] == 40 + 4  # and four that make the list


@pytest.mark.parametrize('kind', ['no-error', 'braces', 'no-message', '401', 'html', 'empty', 'escapes'])
def test_a_disturbance_of_some_seconds_fails_nothing(folder, standin, kind):
    """All requests for downloads are answered so, until each process has met it again and again."""
    hasten(folder).replace('chips.py', 'tries=20', 'tries=4')
    folder.edit('chips.py', POINTS_PER_ECOREGION=4, SIZE=8, PAUSES=[0.001] * 100)
    folder.run('chips.py', '--first', '2')
    standin.set(faults='create=1', fault_kinds=kind)
    run = folder.start('chips.py')
    while sum(row['outcome'] == 'again' for row in folder.log('chips')) < 10:
        assert run.poll() is None
        time.sleep(0.1)
    standin.set(**DEFAULTS)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '16 of 16' in err, err
    assert {ends[-1] for ends in outcomes(folder, 'chips').values()} == {'done'}
    assert 'failed' not in sum(outcomes(folder, 'chips').values(), [])
    assert all(row['why'] for row in folder.log('chips') if row['outcome'] in ('retry', 'again'))


CONTROL = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]')


def test_no_control_characters_are_told(folder, standin):
    """Such as those that write a terminal's title or clear it; neither of the service nor of getResult()."""
    standin.set(broken_match='.', broken_text=sentences.say('escapes') + '\x9b2J\u202e')
    folder.edit('chips.py', POINTS_PER_ECOREGION=3, SIZE=8)
    before_result(folder, "check(index != 7, 'Mine: \\x1b]0;title\\x07 is odd')")
    folder.add('chips.py', '''
every = getRequests


def getRequests():
    warnings.warn('\\x1b[31mred')
    return every()''')
    printed = folder.run('chips.py', status=1)
    assert '11 failed: [31mThe service ]0;title is away.' in printed
    assert '1 failed: Mine: ]0;title is odd' in printed and 'Warning: [31mred' in printed
    told = [line for line in printed.replace('\r', '\n').splitlines()]
    log = (folder.path / 'chips' / 'log.csv').read_text()
    assert not CONTROL.search(log) and '\u202e' not in log + printed
    assert not [line for line in told if CONTROL.search(line.replace('\x1b[A', ''))]


@pytest.mark.parametrize('kind', ['redirect307', 'redirect308'])
def test_what_is_posted_goes_nowhere_else(folder, standin, kind):
    """An answer that sends a request on, to plain http or to another host, is one like 503."""
    standin.set(faults='create=0.3,compute=0.3,token=0.3', fault_kinds=kind)
    hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8)
    folder.run('chips.py')
    counts = standin.counts()
    assert counts['faults']['create'] and {ends[-1] for ends in outcomes(folder, 'chips').values()} == {'done'}
    assert 'www.googleapis.com' not in counts['hosts'] and not counts['refused_connections']


def test_what_comes_over_plain_http_is_not_taken(folder, standin):
    """Another than Google may have put it there."""
    write_points(folder, MIDDLE, (-105.34, 40.03)).edit('chips.py', SIZE=8).run('chips.py')
    before = folder.files('chips')
    standin.set(faults_in_turn='pixels=redirect-http redirect-http redirect-http')
    hasten(folder).edit('chips.py', OUTPUT='again').run('chips.py')
    assert standin.counts()['unencrypted'] == 3 and folder.files('again') == before


@pytest.mark.parametrize('url', ['http://earthengine-highvolume.googleapis.com/v1/a:getPixels', 'ftp://a/b.png',
                                 'file:///etc/hostname', '/etc/hostname', ''])
def test_only_https_is_fetched(folder, standin, url):
    """And at once: no other try can help."""
    own_result(hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8),
               f"save(item, lambda: download({url!r}, 'png'))")
    printed = folder.run('chips.py', status=1)
    assert f'4 failed: ValueError: download() takes a URL first, not {url!r}' in printed
    assert not [row for row in folder.log('chips') if row['outcome'] == 'retry']


def test_the_line_of_a_mistake(folder):
    """It is the innermost above the machinery, however deep and long the mistake is."""
    folder.add('chips.py', '''
def inner(item):
    return {}['key']  # deep


def outer(item):
    return inner(item)''')
    own_result(folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8), '''
        if index == 0:
            outer(item)
        if index == 1:
            save(item, lambda: outer(item))
        if index == 2:
            save(item, 'no function')  # not called
        if index == 3:
            raise ValueError('x' * 5000)  # long''')
    printed = folder.run('chips.py', status=1)
    lines = (folder.path / 'chips.py').read_text().split('\n')
    deep, uncalled, long = (next(number for number, line in enumerate(lines, 1) if line.endswith(f'  # {words}'))
                            for words in ('deep', 'not called', 'long'))
    assert f"2 failed: KeyError: 'key' (chips.py, line {deep})" in printed
    assert f"1 failed: TypeError: 'str' object is not callable (chips.py, line {uncalled})" in printed
    assert re.search(rf'1 failed: ValueError: x{{500,1000}} \(chips.py, line {long}\)', printed)
    assert 'Mend the script, then run it with --keep' in printed


def test_what_a_spreadsheet_would_take_for_a_formula(folder):
    """It is text in the log."""
    own_result(folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8),
               "raise Nothing(['=1+2', '+cmd', '-1', '@SUM(A1)'][index])").run('chips.py', status=1)
    assert {row['why'] for row in folder.log('chips') if row['outcome'] == 'nothing'} == {
        ' =1+2', ' +cmd', ' -1', ' @SUM(A1)'}


def test_failures_of_an_earlier_run_are_not_told_again(folder, standin):
    """Those of this run alone, also where it fetches other items."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=5, SIZE=8).run('chips.py', '--first', '1')
    standin.set(broken_match='.', broken_text='Too many pixels.')
    assert '3 failed' in folder.run('chips.py', '--first', '3', status=1)
    standin.set(**DEFAULTS)
    for _ in range(2):
        printed = folder.run('chips.py', '--first', '1')
        assert 'failed:' not in printed and 'again:' not in printed


def test_a_body_without_end_is_given_up(folder, standin):
    """Far beyond what the service sends: it isn't held in memory."""
    write_points(folder, (-105.24, 40.03)).edit('chips.py', SIZE=8)
    standin.set(faults='pixels=1', fault_kinds='huge')
    run = hasten(folder).start('chips.py')
    while not (told := [row['why'] for row in rows_so_far(folder, 'chips') if row['outcome'] == 'retry']):
        assert run.poll() is None
        time.sleep(0.1)
    standin.set(**DEFAULTS)
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and '1 of 1' in err
    assert 'a body of more than 256 MB' in told[0]


def test_a_proxy_that_wants_a_password_is_told(folder, standin):
    standin.set(proxy_refuses=1.0)
    told = said(hasten(folder).run('chips.py', status=1))
    assert len(told) == 1 and '407 Proxy Authentication Required' in told[0] and len(told[0]) < 300
    assert 'network' not in told[0]


def test_an_empty_reason_is_told_by_its_name(folder):
    """And never left out of the report, or of the status."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=4, SIZE=8)
    own_result(folder, """
        if index % 4 == 0:
            check(False, '')
        if index % 4 == 1:
            raise OSError
        if index % 4 == 2:
            sys.exit()
        raise ConnectionRefusedError""")
    folder.replace('chips.py', 'tries=20', 'tries=1')
    told = said(folder.run('chips.py', status=1))
    assert told[0].startswith('0 of 16') and {line.split(' (')[0] for line in told[1:-1]} == {
        '8 failed: SystemExit', '4 again: ConnectionRefusedError', '4 failed: OSError'}
    assert all(row['why'] for row in folder.log('chips') if row['outcome'] != 'begun')


def test_kinds_are_told_before_a_request(folder, standin):
    """A kind that there is not ends the item at once, with a list of those there are."""
    wrong = ['GEO_TIFF', 'geo.json', 'n', '', None, ('png', 'jpg'), (b'',), 7]
    write_points(folder, *[(-105.24, 40.03)] * len(wrong))
    own_result(folder, f"""
        download('https://earthengine.googleapis.com/v1/projects/p/thumbnails/x:getPixels', {wrong}[index])""")
    standin.reset()
    told = said(folder.run('chips.py', status=1))
    assert 'pixels' not in standin.counts()['requests']
    lines = [line for line in told if 'failed: ValueError: download() knows no ' in line]
    assert sum(int(line.split()[0]) for line in lines) == len(wrong)
    for line in lines:
        assert all(f"'{kind}'" in line for kind in ('png', 'jpg', 'tif', 'npy', 'zip', 'geojson', 'kml'))
        assert 'list of the columns' in line and 'pair of' in line


GOOD = [  # kind, body that is whole, bodies that are not
    ('geojson', b'{"type": "FeatureCollection"}\n', [b'{"type": "Feature', b'']),
    ('kml', b'<?xml version="1.0"?><kml></kml>\n', [b'<?xml version="1.0"?><kml>', b'<html></html>']),
    (['n'], b'n\n1\n', [b'<!DOCTYPE html>\n', b'{"a": 1}']),
    (['n', 'a,b'], b'n,"a,b"\r\n1,2\r\n', [b'<n,"a,b"\n', b'{}']),
    ((b'BM', b'end'), b'BM...end', [b'BM...', b'XX...end']),
    ((b'BM', b''), b'BM', [b'B', b'']),
    ('zip', b'PK\x03\x04...', [b'PK', b'']),
    ('tif', b'MM\x00*...', [b'MM', b'']),
]


def test_kinds_of_results(folder):
    """Each is taken when it is whole, and else asked for again."""
    asked = collections.Counter()

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            number = int(self.path.strip('/'))
            _, whole, parts = GOOD[number]
            body = [*parts, whole][asked[number]]
            asked[number] += 1
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    with local_server(Server, folder) as url:
        write_points(folder, *[(-105.24, 40.03)] * len(GOOD))
        own_result(hasten(folder), f"""
            kind = {[kind for kind, _, _ in GOOD]}[index]
            save(item, lambda: download(f'{url}{{index}}', kind))""")
        folder.run('chips.py')
    assert [folder.files('chips')[f'{n}.png'] for n in range(len(GOOD))] == [whole for _, whole, _ in GOOD]
    assert all(asked[number] == 3 for number in range(len(GOOD)))
