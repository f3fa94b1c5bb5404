"""tests/live.py on the stand-in: it finds what the stand-in's switches say."""
import re
import subprocess
import sys

import pytest

from conftest import HERE


@pytest.fixture
def live(standin):
    """Runs tests/live.py with some words; returns its lines by name, and what else they hold."""
    def run(*words, status=0):
        done = subprocess.run([sys.executable, str(HERE / 'live.py'), *words], env=standin.environ,
                              capture_output=True, text=True, timeout=240)
        assert done.returncode == status and not done.stderr, done.stdout + done.stderr
        assert not re.search(r'[0-9a-f]{32}|ya29|standin-project|https:', done.stdout)
        return dict(line.split(': ', 1) for line in done.stdout.splitlines()[1:])
    return run


def test_every_question_has_an_answer(live):
    found = live()
    assert len(found) == 20
    assert not [line for line in found.values() if 'FAILED' in line or 'no answer' in line]
    for form in 'png', 'jpg', 'tif', 'npy':
        assert re.match(r'8 in \d+ s: 8 x ', found[f'chips.py {form}'])
    assert re.match(r'3 in \d+ s: \d dates each', found['timeseries.py'])
    assert found['does a GET need a token'] == 'without 200, with 200, without 200, with 200'
    assert "'whole': 'RGB RGB', 'partly masked': 'RGBA RGB'" in found['modes of PNG and JPEG']
    assert 'csv, Content-Length, Content-Type text/csv' in found['headers of the GETs']
    assert found['an id fetched twice'] == 'the same bytes; another id 404'
    assert r'"S\xc3\xa3o, ""x""",\n0.3,,\n15,,\n15000000,,\n' in found['csv']
    assert found['mosaic() of 1 and 2 shows'] == '[[2], [1]]'
    assert "'max': [None], 'mean': [None], 'count': [0]" in found['reduceRegion() of no pixel']
    assert "'reduceColumns': '5001'" in found['more than 5,000 elements']
    assert '5002 lines' in found['more than 5,000 elements']
    assert 'no image: 400 at the GET, "Image.select: Band pattern' in found['refusals']
    assert 'too big: 400 at the POST, "Total request size' in found['refusals']
    assert 'missing []' in found['countries']
    assert '1000' in found['points'] and 'the same the second time' in found['points']


def test_another_service_gives_other_answers(live, standin):
    standin.set(eager=True, gzip=1, chunked=1, behaviour={
        'png_alpha': 'always', 'csv_newline': '\r\n', 'csv_final_newline': False, 'csv_float': 'long',
        'aggregate_limit': 5000, 'table_limit': 5000})
    found = live('png', 'token', 'headers', 'modes', 'csv', '5,000', 'refusals')
    assert len(found) == 7 and found['chips.py png'].endswith('8 x PNG RGBA')
    assert 'Transfer-Encoding chunked, Content-Encoding gzip' in found['headers of the GETs']
    assert "'whole': 'RGBA RGB'" in found['modes of PNG and JPEG']
    assert r'\r\n0.30000000000000004,,\r\n15.0,,\r\n1.5E7,,' in found['csv']
    assert found['more than 5,000 elements'].count('aborted after accumulating') == 3
    assert 'no image: 400 at the POST' in found['refusals']


def test_what_fails_is_said_and_the_rest_goes_on(live, standin):
    standin.set(broken_match='NPY', broken_text='Not today, standin-project.')
    found = live('tif', 'npy', 'fill', 'mosaic', status=1)
    assert 'FAILED' in found['chips.py npy'] and 'Not today, ....' in found['chips.py npy']
    assert 'FAILED' not in found['chips.py tif']
    assert found['fill of LST'].startswith('no answer, AssertionError: 400')
    assert found['mosaic() of 1 and 2 shows'] == '[[2], [1]]'
