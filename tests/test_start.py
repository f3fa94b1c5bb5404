"""How the scripts start: the three start methods, help, credentials, and what they have in common."""
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from conftest import BRIEF, HERE, LIMIT, Folder, said

CHIPS = dict(POINTS_PER_ECOREGION=5, SIZE=16)
SERIES = dict(COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-03-01')
SCRIPTS = [('chips.py', CHIPS), ('timeseries.py', SERIES)]
BOTH = pytest.mark.parametrize('script', ['chips.py', 'timeseries.py'])


def test_machinery_is_the_same_word_for_word():
    chips, series = ((HERE.parent / name).read_text().split('\n# The machinery')
                     for name in ('chips.py', 'timeseries.py'))
    assert len(chips) == len(series) == 2 and chips[1] == series[1]
    assert 'getRequests()' in chips[1] and len(chips[1].splitlines()) > 50


@BOTH
def test_requirements_are_the_same_in_each_script(script):
    """As inline metadata, by which `uv run` needs no set-up: packaging.python.org, PEP 723."""
    text = (HERE.parent / script).read_text()
    block, = re.findall(r'(?m)^# /// script$\n((?:^#(?:| .*)$\n)+?)^# ///$', text)
    told = tomllib.loads(''.join(line[2:] for line in block.splitlines(keepends=True)))
    listed = (HERE.parent / 'requirements.txt').read_text().splitlines()
    if script == 'timeseries.py':
        listed = [line for line in listed if not line.startswith('pyproj')]
    assert told == {'requires-python': '>=3.11', 'dependencies': listed}


@BRIEF
@pytest.mark.parametrize('script,constants', SCRIPTS)
@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_start_methods(folder, standin, method, script, constants):
    standin.set(start_method=method, concurrency=40)
    folder.edit(script, **constants).run(script)
    counts = standin.counts()
    failed = {status for kind in counts['requests'].values() for status in kind if status != '200'}
    assert not failed and not counts['failed_handshakes'] and not counts['broken_tls']
    assert not counts['hosts'].get('earthengine.googleapis.com')  # all go to the high-volume endpoint
    name = 'chips' if script == 'chips.py' else 'timeseries'
    assert len(folder.files(name)) == {'chips': 21, 'timeseries': 13}[name]


@BOTH
def test_help_is_the_docstring_and_unknown_arguments_are_refused(folder, standin, script):
    text = (folder.path / script).read_text().split('"""')[1]
    printed = folder.run(script, '--help')
    assert text.strip() in printed and '--first' in printed and '--keep' in printed
    assert 'unrecognized arguments' in folder.run(script, '--scale', '2', status=2)
    assert not standin.counts()['requests']
    assert sorted(path.name for path in folder.path.iterdir()) == ['chips.py', 'timeseries.py']


@pytest.mark.parametrize('option,words', [
    ('no_credentials', 'earthengine authenticate'), ('revoked', 'earthengine authenticate'),
    ('no_project', 'earthengine set_project'), ('not_registered', 'is not registered')])
@BOTH
def test_no_access_is_one_sentence_and_leaves_no_folder(folder, standin, script, option, words):
    standin.set(**{option: True})
    line, = said(folder.run(script, status=1))
    assert line.count(words) == 1
    assert sorted(path.name for path in folder.path.iterdir()) == ['chips.py', 'timeseries.py']


def test_no_network_is_one_sentence(folder, standin):
    closed = dict.fromkeys(['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'], 'http://127.0.0.1:9')
    folder.standin = type('', (), {'environ': {**standin.environ, **closed}})
    folder.replace('chips.py', 'delay=0.1, backoff=1.6, jitter=(0, 0.5), max_delay=3', 'delay=.01')
    folder.replace('chips.py', 'tries=3, delay=1', 'tries=3, delay=0')
    lines = said(folder.run('chips.py', status=1))
    assert lines[-1] == 'no connection to Google: is there a network?' and 'Proxy' not in str(lines)


def test_a_slow_list_is_announced_and_waited_for(folder, standin):
    """Longer than for a result, which DEADLINE is for."""
    standin.set(latency='compute=2')
    run = folder.edit('chips.py', DEADLINE=1, **CHIPS).start('chips.py')
    assert [run.stderr.readline() for _ in range(2)] == [
        'Signing in to Earth Engine.\n', 'Asking Earth Engine for the list of items.\n']
    assert 'compute' not in standin.counts()['requests']  # these have not been answered yet
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and standin.counts()['requests']['compute'] == {'200': 2}


@BOTH
def test_project_constant_is_used(folder, standin, script):
    """Whatever project the sign-in names; all requests but those of results carry it."""
    for project in None, 'another':
        standin.set(no_project=not project, project=project or '')
        folder.edit(script, PROJECT='my-own', OUTPUT=f'for {project}', **dict(SCRIPTS)[script]).run(script)
        assert set(standin.counts()['projects']) == {'my-own'}


def test_a_netrc_file_does_not_replace_the_token(folder, standin):
    (folder.path / 'netrc').write_text('default login anonymous password guest\n')
    folder.standin = type('', (), {'environ': {**standin.environ, 'NETRC': str(folder.path / 'netrc')}})
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    assert not standin.counts()['credentials_with_results']


def test_earth_engine_is_started_once_in_each_process(folder, standin):
    standin.set(start_method='spawn')
    folder.edit('chips.py', PROCESSES=2, **CHIPS).run('chips.py')
    assert standin.counts()['requests']['algorithms'] == {'200': 3} and standin.counts()['tokens'] == 3


def test_the_bar_goes_on_where_the_last_run_ended(folder):
    folder.edit('chips.py', **CHIPS)
    assert re.search(r'\b5/20 \[', folder.run('chips.py', '--first', '5'))
    assert re.search(r'\b20/20 \[', folder.run('chips.py'))


def test_log_of_a_run_without_a_terminal_is_readable(folder):
    printed = folder.edit('chips.py', **CHIPS).run('chips.py')
    assert '\r' not in printed and re.search(r'20/20 \[', printed)


@pytest.mark.parametrize('kind', ['reset', '502', 'html', 'junk', 'truncate', 'json'])
def test_a_first_token_that_does_not_come_is_asked_for_again(folder, standin, kind):
    standin.set(faults='token=0.5', fault_kinds=kind, seed=6)
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    assert standin.counts()['faults']['token']


@pytest.mark.parametrize('method', ['fork', 'forkserver', 'spawn'])
def test_a_warning_of_the_client_is_shown_once_and_in_the_log(folder, standin, method):
    standin.set(start_method=method)
    folder.edit('timeseries.py', COLLECTION='MODIS/006/MOD11A2', PROCESSES=3, **SERIES)
    assert 1 <= folder.run('timeseries.py').count('Attention required for MODIS/006/MOD11A2') <= 2
    told = [row for row in folder.log('timeseries') if row['outcome'] == 'warning']
    assert ('Attention required' in str(told)) == (method != 'fork')  # there it has been said already


@BOTH
def test_no_thread_runs_where_processes_are_forked(folder, script):
    """From 3.12 on Python warns of it, to those who ask for it."""
    folder.edit(script, **dict(SCRIPTS)[script])
    assert 'multi-threaded' not in folder.run('-W', 'always::DeprecationWarning', script)
    assert 'Warning' not in folder.edit(script, OUTPUT='more').run('-W', 'error::DeprecationWarning', script)


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252'])
def test_names_that_the_terminal_cannot_show(folder, standin, encoding):
    """Printing never fails; a system whose file names are ASCII is another matter."""
    folder.standin = type('', (), {'environ': {**standin.environ, 'PYTHONIOENCODING': encoding}})
    folder.edit('chips.py', OUTPUT='Łódź', **CHIPS)
    printed = folder.run('chips.py')  # of which the tests read what is UTF-8
    assert '20 of 20 are in \\u0141' in printed and 'd\\u017a, listed in chips.csv' in printed
    assert len(folder.files('Łódź')) == 21


def test_standard_error_that_is_closed(folder, standin):
    folder.edit('chips.py', **CHIPS)
    done = subprocess.run('python chips.py 2>&-', shell=True, cwd=folder.path, env=standin.environ, timeout=LIMIT)
    assert done.returncode == 0 and len(folder.files('chips')) == 21


STARTS = re.findall(r'`!?([^`]*python chips.py --first 10)`', (HERE.parent / 'README.md').read_text('utf-8'))


@pytest.mark.parametrize('command', STARTS)
def test_the_readmes_ways_to_start(folder, standin, command):
    """As typed; what follows the `!` of a notebook is for the shell."""
    assert len(STARTS) == 2
    shutil.copy(HERE.parent / 'requirements.txt', folder.edit('chips.py', **CHIPS).path)
    path = f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'
    done = subprocess.run(['bash', '-c', command], cwd=folder.path, capture_output=True, text=True, timeout=60,
                          env={**standin.environ, 'PATH': path, 'PIP_DISABLE_PIP_VERSION_CHECK': '1'})
    assert done.returncode == 0 and '10 of 20 are in chips, listed in chips.csv.' in done.stderr
    assert len(folder.files('chips')) == 11


@pytest.mark.parametrize('processes,lines', [(40, 1), (41, 2)])
def test_more_processes_than_the_quota_is_a_warning(folder, processes, lines):
    told = said(folder.edit('chips.py', **CHIPS, PROCESSES=processes).run('chips.py'))
    assert len(told) == lines and (lines == 1 or told[0].startswith('Warning: PROCESSES: 41 ') and '40' in told[0])


def test_uv_needs_no_set_up(tmp_path, standin):
    """`uv run chips.py`, where uv is installed and finds the packages."""
    uv = shutil.which('uv')
    if not uv:
        pytest.skip('uv is not installed here')
    folder = Folder(tmp_path, standin).edit('chips.py', **CHIPS)
    cache = {'UV_CACHE_DIR': str(tmp_path / 'cache')}
    made = subprocess.run([uv, 'sync', '--script', 'chips.py'], cwd=folder.path, capture_output=True, text=True,
                          env={**os.environ, **cache})
    if made.returncode:
        pytest.skip('uv finds no packages here: ' + made.stderr[-200:])
    done = subprocess.run([uv, 'run', '--offline', 'chips.py'], cwd=folder.path, capture_output=True, text=True,
                          env={**standin.environ, **cache})
    assert done.returncode == 0 and '20 of 20' in done.stderr, done.stderr
