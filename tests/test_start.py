"""How the scripts start: the three start methods, help, credentials, and what they have in common."""
import re

import pytest

from conftest import HERE

CHIPS = dict(POINTS_PER_ECOREGION=5, SIZE=16)
SERIES = dict(COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-03-01')
SCRIPTS = [('chips.py', CHIPS), ('timeseries.py', SERIES)]


def test_machinery_is_the_same_word_for_word():
    chips, series = ((HERE.parent / name).read_text().split('\n# The machinery')
                     for name in ('chips.py', 'timeseries.py'))
    assert len(chips) == len(series) == 2 and chips[1] == series[1]
    assert 'getRequests()' in chips[1] and len(chips[1].splitlines()) > 50


@pytest.mark.parametrize('script,constants', SCRIPTS)
@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_start_methods(folder, standin, method, script, constants):
    standin.set(start_method=method, concurrency=40)
    folder.edit(script, **constants).run(script)
    counts = standin.counts()
    failed = {status for kind in counts['requests'].values() for status in kind if status != '200'}
    assert not failed and not counts['failed_handshakes'] and not counts['broken_tls']
    name = 'chips' if script == 'chips.py' else 'timeseries'
    assert len(folder.files(name)) == {'chips': 21, 'timeseries': 13}[name]


@pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])
def test_help_is_the_docstring_and_unknown_arguments_are_refused(folder, standin, script):
    text = (folder.path / script).read_text().split('"""')[1]
    assert text.strip() in folder.run(script, '--help')
    assert 'unrecognized arguments' in folder.run(script, '--scale', '2', status=2)
    assert not standin.counts()['requests']
    assert sorted(path.name for path in folder.path.iterdir()) == ['chips.py', 'timeseries.py']


@pytest.mark.parametrize('option,words', [
    ('no_credentials', 'earthengine authenticate'), ('revoked', 'earthengine authenticate'),
    ('no_project', 'earthengine set_project'), ('not_registered', 'is not registered')])
@pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])
def test_no_access_is_one_sentence(folder, standin, script, option, words):
    standin.set(**{option: True})
    printed = folder.run(script, status=1, seconds=30)
    assert words in printed and len(printed.splitlines()) == 1


def test_project_constant_is_used(folder, standin):
    standin.set(no_project=True)
    folder.edit('chips.py', PROJECT='standin-project', **CHIPS).run('chips.py')


def test_a_netrc_file_does_not_replace_the_token(folder, standin):
    (folder.path / 'netrc').write_text('default login anonymous password guest\n')
    folder.standin = type('', (), {'environ': {**standin.environ, 'NETRC': str(folder.path / 'netrc')}})
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')


def test_log_of_a_run_without_a_terminal_is_readable(folder):
    printed = folder.edit('chips.py', **CHIPS).run('chips.py')
    assert '\r' not in printed and re.search(r'20/20 \[', printed)


def test_constants_stand_on_lines_of_their_own():
    for script, names in (
            ('chips.py', 'PROJECT PROCESSES OUTPUT POINTS_PER_ECOREGION SEED SIZE SCALE FORMAT '
                         'COLLECTION START END BANDS MIN MAX REGION'),
            ('timeseries.py', 'PROJECT PROCESSES OUTPUT START END COUNTRIES COLLECTION BAND UNIT '
                              'OFFSET REDUCER QUALITY REGIONS')):
        text = (HERE.parent / script).read_text()
        for name in names.split():
            assert len(re.findall(rf'^{name} = ', text, re.M)) == 1


@pytest.mark.parametrize('kind', ['reset', 'stall', '502', 'html', 'junk', 'truncate', 'json'])
def test_a_first_token_that_does_not_come_is_asked_for_again(folder, standin, kind):
    standin.set(faults='token=0.5', fault_kinds=kind, stall=200, seed=6)
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    assert standin.counts()['faults']['token']


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_a_warning_is_shown_once_or_twice_not_by_each_worker(folder, standin, method):
    standin.set(start_method=method)
    folder.edit('timeseries.py', COLLECTION='MODIS/006/MOD11A2', PROCESSES=3, **SERIES)
    assert 1 <= folder.run('timeseries.py').count('Attention required for MODIS/006/MOD11A2') <= 2
