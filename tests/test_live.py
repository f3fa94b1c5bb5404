"""tests/live.py on the stand-in: it finds what the stand-in's switches say."""
import os
import re
import subprocess
import sys
import time

import pytest

import live as program
from conftest import HERE, LIMIT
from sentences import GUESS, SENTENCES, TEXTS


@pytest.fixture
def live(standin):
    """Runs tests/live.py with some words; returns its lines by name."""
    def run(*words, status=0):
        done = subprocess.run([sys.executable, str(HERE / 'live.py'), *words], env=standin.environ,
                              capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == status and not done.stderr, done.stdout + done.stderr
        assert not re.search(r'[0-9a-f]{32}|ya29|standin-project|googleapis', done.stdout)
        return dict(line.split(': ', 1) for line in done.stdout.splitlines()[1:])
    yield run
    (standin.home() / '.config' / 'earthengine' / 'live-test-url').unlink(missing_ok=True)


def test_all_guesses_are_asked_that_can_be_brought_about():
    """Others come on a bad day only, are asked by another question, or are no words of the service."""
    guesses = {sentence.name for sentence in SENTENCES if sentence.mark == GUESS and sentence.sent}
    bad_days = {'too_much', 'timeout_408', 'internal_500', 'deadline_504', 'page', 'no_upstream', 'escapes'}
    elsewhere = {'expired', 'expired_other', 'select_old'}
    assert guesses == {*program.GUESSES} | bad_days | elsewhere


def test_every_question_has_an_answer(live, standin):
    found = live()
    counts = standin.counts()
    total = found.pop('in all')
    assert {*found} == {*program.JOBS, *program.QUESTIONS}
    assert not [line for line in found.values() if 'FAILED' in line or 'no answer' in line]
    for form in 'png', 'jpg', 'tif', 'npy':
        assert re.match(r'8 in \d+ s: 8 x .* \(16 requests, 0 retries', found[f'chips.py {form}'])
    assert re.match(r'3 in \d+ s: \d dates each.* \(6 requests, 0 retries', found['timeseries.py'])
    never = 'one that never was: at the GET 404 (application/json) "Requested entity was not found."'
    assert found['ids that are expired'].startswith(never)
    assert 'png, Content-Length, Content-Type image/png' in found['framing of results']
    assert 'empty csv, Content-Length, Content-Type text/csv' in found['framing of results']
    assert r'"S\xc3\xa3o, ""x""",\n0.3,,\n15,,\n15000000,,\n' in found['csv']
    assert r"no row b'a,b\n'; without selectors and b in the first row b'system:index,a,.geo'" in found['csv']
    assert "{'Uint8': [0], 'Int16': [0], 'Float': [0.0]}" in found['masked in npy']
    assert "'whole': 'RGB RGB', 'partly masked': 'RGBA RGB'" in found['alpha']
    no_bands = 'at the GET 400 (application/json) "Image.select: Band pattern \'R\' was applied to an Image with no'
    assert no_bands in found['no bands is told'] and 'no such band: at the GET 400' in found['no bands is told']
    assert found['a project that is not there'].startswith('404 (application/json) "Project \'projects/...')
    assert "'max': [None], 'mean': [None], 'count': [0]" in found['reduceRegion() of no pixel']
    assert ', in order of time' in found['order of the archive'] and 'missing []' in found['countries']
    assert '1000' in found['points'] and 'the same the second time' in found['points']
    for name in program.GUESSES:
        pieces = [piece for piece in re.split(r'\{\w+\}', TEXTS[name]) if piece.strip(' .')]
        assert all(piece.strip() in found[f'guess {name}'] for piece in pieces), found[f'guess {name}']
    # what it took: each line tells its own, the last one all but what the scripts did
    told = [int(number) for name, line in found.items() if name not in program.JOBS
            for number in re.findall(r'\((\d+) requests, [\d.]+ kB, [\d.]+ s\)$', line)]
    in_all = int(re.match(r'(\d+) requests', total)[1])
    assert len(told) == len(program.QUESTIONS) and sum(told) < in_all < sum(told) + 20
    # and all that costs something is told apart by its tag
    working = sum(number for kind in ('create', 'compute') for number in counts['requests'][kind].values())
    assert 'workload tag live' in total and counts['workload_tags'] == {'live': working}


def test_another_service_gives_other_answers(live, standin):
    standin.set(eager=True, gzip=1, chunked=1, restricted=True, behaviour={
        'png_alpha': 'always', 'csv_newline': '\r\n', 'csv_final_newline': False, 'csv_float': 'long',
        'csv_empty': 'nothing', 'npy_masked': 'minimum', 'other_project_status': 403, 'error_body': 'html',
        'collection_order': 'reversed', 'no_centre': 'touched', 'lst_fill': 'shown', 'result_framing': 'chunked'})
    found = live('chips.py png', 'framing', 'csv', 'masked', 'alpha', 'bands', 'project', 'no pixel', 'fill',
                 'order', 'expired')
    found.pop('in all')
    assert len(found) == 13 and ': 8 x PNG RGBA' in found['chips.py png']
    assert 'Transfer-Encoding chunked, Content-Encoding gzip' in found['framing of results']
    assert 'x-earth-engine-quota-status parallelism_restricted=true' in found['framing of results']
    assert r'\r\n0.30000000000000004,,\r\n15.0,,\r\n1.5E7,,' in found['csv'] and "no row b'';" in found['csv']
    assert "'Int16': [-32768], 'Float': [-inf]" in found['masked in npy']
    assert "'whole': 'RGBA RGB'" in found['alpha']
    assert 'png: at the POST 400' in found['no bands is told']
    assert found['a project that is not there'].startswith('403 (application/json) "Project')
    assert "'max': [1]" in found['reduceRegion() of no pixel']
    assert found['fill of LST'].startswith("lowest {'LST_Day_1km': 0}")
    assert 'not in order of time' in found['order of the archive']
    assert 'at the GET 404 (text/html) b\'<!DOCTYPE html>' in found['ids that are expired']


def test_an_id_of_an_earlier_run_is_asked_for_again(live, standin):
    """Until three hours have passed it is kept, then another takes its place."""
    kept = standin.home() / '.config' / 'earthengine' / 'live-test-url'
    live('expired')
    url = kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert '; one of 0.0 hours ago: not at all' in live('expired')['ids that are expired']
    assert kept.read_text() == url
    os.utime(kept, (time.time() - 4 * 3600,) * 2)
    standin.set(id_life=0.001)
    assert 'one of 4.0 hours ago: at the GET 404' in live('expired')['ids that are expired']
    assert kept.read_text() != url


@pytest.mark.parametrize('status', [400, 429])
def test_how_too_many_aggregations_are_told(live, standin, status):
    """Only where it is asked for, as it costs more than all else."""
    standin.set(behaviour={'max_images': 100, 'max_images_status': status,
                           'max_images_text': 'Too many concurrent aggregations.'})
    found = live('aggregations')
    assert {*found} == {'aggregations at once', 'in all'}
    assert found['aggregations at once'].startswith(f'at the GET {status} (application/json) "Too many concurrent')


def test_what_fails_is_said_and_the_rest_goes_on(live, standin):
    standin.set(broken_match='NPY', broken_text='Not today, standin-project.')
    found = live('tif', 'npy', 'fill', 'order', status=1)
    assert 'FAILED' in found['chips.py npy'] and 'Not today, ....' in found['chips.py npy']
    assert 'FAILED' not in found['chips.py tif']
    assert found['fill of LST'].startswith('no answer, AssertionError: 400')
    assert ', in order of time' in found['order of the archive']
