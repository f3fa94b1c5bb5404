"""How the scripts start: the three start methods, help, credentials, and what they have in common."""
import ast
import fcntl
import io
import os
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import tomllib
import types

import pytest

from conftest import BRIEF, HERE, LIMIT, Folder, hasten, said, wait_for

sys.path.insert(0, str(HERE.parent))
import bench  # noqa: E402
import chips  # noqa: E402
import timeseries  # noqa: E402

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
def test_no_text_is_in_the_systems_encoding(script):
    """Which is another one on Windows; what is thrown away may be in any."""
    tree = ast.parse((HERE.parent / script).read_text('utf-8'))
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, text = ast.unparse(call.func).rpartition('.')[2], ast.unparse(call)
        if name == 'open' and 'os.devnull' not in text and "b'" not in text:
            found.append('encoding=' in text)
        elif name in ('read_text', 'write_text') and 'read_text(name)' not in text and 'POINTS' not in text:
            found.append("'utf-8" in text)
    assert all(found) and len(found) >= 4


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
@pytest.mark.parametrize('script,constants', SCRIPTS, ids=['chips', 'timeseries'])
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


NO_ACCESS = {'no_credentials': 'earthengine authenticate', 'revoked': 'earthengine authenticate',
             'no_project': 'earthengine set_project', 'not_registered': 'is not registered'}


@pytest.mark.parametrize('option', NO_ACCESS)
@BOTH
def test_no_access_is_one_sentence_and_leaves_no_folder(folder, standin, script, option):
    standin.set(**{option: True})
    line, = said(folder.run(script, status=1))
    assert line.count(NO_ACCESS[option]) == 1
    assert sorted(path.name for path in folder.path.iterdir()) == ['chips.py', 'timeseries.py']


@pytest.mark.parametrize('content', [None, '', '{"type": ', '{"type": "service_account"}'])
def test_a_key_file_that_is_none(folder, standin, content):
    """The variable is named, and the path, whether there is a project elsewhere or not."""
    key = folder.path / 'key.json'
    if content is not None:
        key.write_text(content)
    standin.set(no_credentials=True)
    environ = {**standin.environ, 'GOOGLE_APPLICATION_CREDENTIALS': str(key)}
    folder.standin = types.SimpleNamespace(environ=environ)
    for project in None, 'standin-project':
        line, = said(folder.edit('chips.py', PROJECT=project).run('chips.py', status=1))
        assert 'GOOGLE_APPLICATION_CREDENTIALS' in line and str(key) in line
    assert not (folder.path / 'chips').exists()


@pytest.mark.parametrize('content', ['', '{"refresh_token": '])
def test_credentials_that_are_broken(folder, standin, content):
    """They are as good as none."""
    folder.standin = types.SimpleNamespace(environ=standin.environ)
    (standin.home() / '.config' / 'earthengine' / 'credentials').write_text(content)
    line, = said(folder.edit('chips.py', **CHIPS).run('chips.py', status=1))
    assert 'type earthengine authenticate' in line


def test_warnings_at_the_sign_in_touch_no_folder_of_others(folder, standin):
    """They are noted in the log, but not before the folder is known to be ours."""
    (folder.path / 'chips').mkdir()
    (folder.path / 'chips' / 'film.png').write_bytes(b'mine')
    standin.set(restricted=True)
    line, = said(folder.run('chips.py', status=1))
    assert 'did not make' in line
    assert {path.name for path in (folder.path / 'chips').iterdir()} == {'film.png', '.lock'}


def test_a_wrong_list_leaves_a_folder_that_the_next_run_takes(folder):
    """As it is locked before the list is made."""
    folder.edit('chips.py', REGION={'ADM1_NAME': 'Atlantis'}, **CHIPS)
    line, = said(folder.run('chips.py', status=1))
    assert 'Atlantis' in line
    assert [path.name for path in (folder.path / 'chips').iterdir()] == ['.lock']
    folder.edit('chips.py', REGION={'ADM1_NAME': 'Colorado'})
    assert '20 of 20 are in chips' in folder.run('chips.py')


def unreachable(folder, standin):
    """Has a folder's runs look for a proxy where there is none."""
    closed = dict.fromkeys(['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'], 'http://127.0.0.1:9')
    folder.standin = types.SimpleNamespace(environ={**standin.environ, **closed})
    return hasten(folder)


def test_no_network_is_one_sentence_with_its_cause(folder, standin):
    line, = said(unreachable(folder, standin).run('chips.py', status=1))
    assert line.startswith('no connection to oauth2.googleapis.com, or it broke off: ')
    assert 'Connection refused' in line and line.endswith('. Run it again later.')
    assert 'Max retries' not in line and not (folder.path / 'chips').exists()


def test_the_pauses_of_a_start_that_comes_to_nothing(folder, standin):
    """Each once, and then an end."""
    lines = said(unreachable(folder, standin).edit('chips.py', PAUSES=[0.01, 0.02]).run('chips.py', status=1))
    assert ['The next try is in 0.01 minutes.' in lines[0], 'The next try is in 0.02 minutes.' in lines[1],
            lines[2].endswith('Run it again later.')] == [True] * 3 and len(lines) == 3
    assert all(line.startswith('no connection to oauth2.googleapis.com') for line in lines)


@pytest.mark.parametrize('script,kind', [
    ('chips.py', 'token'), ('chips.py', 'discovery'), ('chips.py', 'algorithms'), ('chips.py', 'compute'),
    ('timeseries.py', 'compute')], ids='{}'.format)
def test_a_service_that_is_down_at_the_start_is_waited_for(folder, standin, script, kind):
    """At the sign-in as for the list: 20 tries, then the first of PAUSES, with a sentence."""
    standin.set(faults=f'{kind}=1', fault_kinds='502')
    folder.edit(script, PAUSES=[0.01, 60], **dict(SCRIPTS)[script])
    run = hasten(folder).start(script)
    lines = [run.stderr.readline()]
    while 'The next try is in 0.01 minutes.' not in lines[-1]:
        lines.append(run.stderr.readline())
        assert lines[-1], lines
    standin.set(faults='')
    rest = run.communicate(timeout=LIMIT)[1]
    assert run.returncode == 0 and 'The next try' not in rest, rest
    assert '502' in lines[-1] and lines[:-1] == ['Signing in to Earth Engine.\n'] + [
        'Asking Earth Engine for the list of items.\n'] * (kind == 'compute')
    assert len(folder.files(script.removesuffix('.py'))) == {'chips.py': 21, 'timeseries.py': 13}[script]
    assert standin.counts()['faults'][kind]['502'] >= 20


def test_a_slow_list_is_announced_and_waited_for(folder, standin):
    """Longer than for a result, which DEADLINE is for."""
    standin.set(latency='compute=2')
    run = folder.edit('chips.py', DEADLINE=1, **CHIPS).start('chips.py')
    assert [run.stderr.readline() for _ in range(2)] == [
        'Signing in to Earth Engine.\n', 'Asking Earth Engine for the list of items.\n']
    assert 'compute' not in standin.counts()['requests']  # these have not been answered yet
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0 and {*standin.counts()['requests']['compute']} == {'200'}


@BOTH
def test_project_constant_is_used(folder, standin, script):
    """Whatever project the sign-in names; all requests but those of results carry it."""
    for project in None, 'another':
        standin.set(no_project=not project, credentials_project=project or '', project='my-own')
        folder.edit(script, PROJECT='my-own', OUTPUT=f'for {project}', **dict(SCRIPTS)[script]).run(script)
        assert set(standin.counts()['projects']) == {'my-own'}


def test_a_netrc_file_does_not_replace_the_token(folder, standin):
    (folder.path / 'netrc').write_text('default login anonymous password guest\n')
    folder.standin = types.SimpleNamespace(environ={**standin.environ, 'NETRC': str(folder.path / 'netrc')})
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).run('chips.py')
    assert not standin.counts()['credentials_with_results']


def test_earth_engine_is_started_once_in_each_process(folder, standin):
    standin.set(start_method='spawn')
    folder.edit('chips.py', PROCESSES=2, **CHIPS).run('chips.py')
    assert standin.counts()['requests']['algorithms'] == {'200': 3} and standin.counts()['tokens'] == 3


def test_the_bar_counts_what_a_run_is_to_fetch(folder):
    """With --first so many items, else all, of which some are there."""
    folder.edit('chips.py', **CHIPS)
    assert re.search(r' 5/5 \[', folder.run('chips.py', '--first', '5'))
    printed = folder.run('chips.py')
    assert re.search(r' 20/20 \[', printed) and '\r' not in printed


def lines_of_bar(monkeypatch, tmp_path, seconds, every=0.5):
    """The lines of a bar that is shown so many seconds by a clock of ours, no terminal about, while
    an item a second is done: [(second, line)]."""
    clock, told = [1000.0], io.StringIO()
    monkeypatch.setattr(chips, 'time', types.SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(chips, 'log_file', tmp_path / 'log.csv')
    monkeypatch.setattr(chips, 'items', {f'{number}.png': {} for number in range(100)})
    monkeypatch.setattr(sys, 'stderr', told)
    log, found = chips.Log(), []
    log.show_bar(100, 0)
    for step in range(int(seconds / every)):
        clock[0] += every
        if step * every % 1 == 0:
            chips.note('done', file=f'{int(step * every)}.png')
        log.show()
        found += [((step + 1) * every, line) for line in told.getvalue().splitlines()]
        told.seek(0)
        told.truncate()
    return found


def test_without_a_terminal_the_bar_is_a_line_each_half_minute(monkeypatch, tmp_path):
    found = lines_of_bar(monkeypatch, tmp_path, 95)
    assert [second for second, _ in found] == [30, 60, 90]
    assert [re.search(r'(\d+)/100 \[', line)[1] for _, line in found] == ['30', '60', '90']


def test_a_short_run_has_no_line_before_its_end(monkeypatch, tmp_path):
    assert not lines_of_bar(monkeypatch, tmp_path, 29.5)


def on_terminal(folder, *command, columns=200):
    """What a run writes to a terminal of so many columns, and its status."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 50, columns, 0, 0))
    run = subprocess.Popen([sys.executable, *command], cwd=folder.path, env=folder.standin.environ,
                           stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    told = b''
    while True:
        try:
            told += os.read(ours, 65536)
        except OSError:  # all that had it open have ended
            break
    os.close(ours)
    return told.decode(), run.wait(LIMIT)


def test_a_bar_on_a_terminal_tells_the_last_reason(folder, standin):
    """Its head and its tail, as these tell most; restricted mode also in a sentence, once."""
    standin.set(faults='create=0.5', fault_kinds='restricted')
    told, status = on_terminal(hasten(folder).edit('chips.py', **CHIPS), 'chips.py')
    assert status == 0 and standin.counts()['faults']['create']['restricted']
    bars = [piece for piece in re.split(r'[\r\n]+', told) if '|' in piece]
    assert len(bars) > 3 and ' 0/20 [' in bars[0] and ' 20/20 [' in bars[-1]
    assert re.search('0 failed, 0 nothing, last: Too Many Requests: .*[.]{3}.* in Restricted Mode[.]]$',
                     bars[-1].rstrip())
    assert told.count('Your project is in restricted mode: ') == 1 and 'PROCESSES = 2' in told
    assert all(len(bar) <= 200 for bar in bars)


@pytest.mark.parametrize('kind', ['reset', '502', 'html', 'junk', 'truncate', 'json'])
def test_a_first_token_that_does_not_come_is_asked_for_again(folder, standin, kind):
    standin.set(faults='token=1', fault_kinds=kind)
    run = hasten(folder).edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8).start('chips.py')
    wait_for(lambda: standin.counts()['faults'].get('token'), run)
    standin.set(faults='')
    err = run.communicate(timeout=LIMIT)[1]
    assert run.returncode == 0 and '4 of 4' in err, err


@pytest.mark.parametrize('script,constants', SCRIPTS, ids=['chips', 'timeseries'])
def test_a_system_that_lacks_what_windows_lacks(folder, new_folder, standin, script, constants):
    """No timer, no signal of one, no masks of signals, no limit of open files; and no fork."""
    name = script.removesuffix('.py')
    whole = new_folder().edit(script, **constants)
    whole.run(script)
    standin.set(start_method='spawn', faults='0.1,token=0.2', stall=6,
                fault_kinds='503,reset,truncate,stall,html')
    standin.reset()
    folder.hook('''
import signal, sys
for name in 'setitimer', 'getitimer', 'ITIMER_REAL', 'SIGALRM', 'alarm', 'pthread_sigmask':
    delattr(signal, name)
sys.modules['resource'] = None
''', cold=True)
    hasten(folder).edit(script, DEADLINE=3, **constants).run(script)
    assert folder.files(name) == whole.files(name)
    assert standin.counts()['faults']


def test_an_answer_that_does_not_come_without_a_timer(folder, standin):
    """Is given up after DEADLINE there, too, three times at most in a round."""
    standin.set(faults='pixels=1', fault_kinds='stall', stall=60)
    folder.hook('''
import signal
for name in 'setitimer', 'SIGALRM', 'pthread_sigmask':
    delattr(signal, name)
''')
    folder.edit('chips.py', DEADLINE=1, **{**CHIPS, 'POINTS_PER_ECOREGION': 1})
    printed = hasten(folder).run('chips.py', status=1)
    assert '4 again: no answer within 1 seconds (DEADLINE) (chip_' in printed
    assert sum(standin.counts()['requests']['pixels'].values()) <= 12


README = ' '.join((HERE.parent / 'README.md').read_text('utf-8').split())
TOLD = {  # where the README tells a default
    'PROCESSES': r'(\d+) at a time\.|(\d+) leaves room for others', 'tries': 'up to (\\w+) times',
    'PAUSES': r'waits (\d+) minutes?, then (\d+), then (\d+)', 'DEADLINE': r'raise (?:it|DEADLINE), up to (\d+)'}


@pytest.mark.parametrize('script', [chips, timeseries], ids=['chips', 'timeseries'])
def test_defaults_are_those_that_the_readme_tells(script):
    """All places that tell one have the number of the scripts."""
    told = {name: {tuple(filter(None, found.groups())) for found in re.finditer(pattern, README)}
            for name, pattern in TOLD.items()}
    assert told == {'PROCESSES': {('25',)}, 'tries': {('twenty',)}, 'PAUSES': {('1', '10', '60')},
                    'DEADLINE': {('330',)}}
    assert script.PROCESSES == 25 and script.PAUSES == [1, 10, 60] and script.PATIENCE['tries'] == 20
    assert script.PROJECT is None and script.DEADLINE == {chips: 60, timeseries: 330}[script]


def test_an_item_is_tried_twenty_times_in_a_round(folder, standin):
    """Within a minute or two: the pauses in between are 50 s in all."""
    standin.set(faults='create=1', fault_kinds='429')
    hasten(folder).edit('chips.py', PROCESSES=1, **CHIPS)
    folder.run('chips.py', '--first', '1', status=1)
    assert standin.counts()['requests']['create'] == {'429': 20}
    assert [row['outcome'] for row in folder.log('chips')] == ['list', 'begun', *['retry'] * 19, 'again']
    for patience in chips.PATIENCE, timeseries.PATIENCE:
        delay, seconds = patience['delay'], []
        for _ in range(patience['tries'] - 1):
            seconds.append(delay)
            delay = min(patience['max_delay'], delay * patience['backoff'] + sum(patience['jitter']) / 2)
        assert 45 < sum(seconds) < 55 and len(seconds) == 19


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
    folder.standin = types.SimpleNamespace(environ={**standin.environ, 'PYTHONIOENCODING': encoding})
    folder.edit('chips.py', OUTPUT='Łódź', **CHIPS)
    printed = folder.run('chips.py')  # of which the tests read what is UTF-8
    assert '20 of 20 are in \\u0141' in printed and 'd\\u017a, listed in chips.csv' in printed
    assert len(folder.files('Łódź')) == 21


def test_standard_error_that_is_closed(folder, standin):
    folder.edit('chips.py', **CHIPS)
    done = subprocess.run([shutil.which('sh'), '-c', f'{shlex.quote(sys.executable)} chips.py 2>&-'],
                          cwd=folder.path, env=standin.environ, timeout=LIMIT)
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


def test_the_bench_measures_a_run(monkeypatch, standin, capsys):
    """The pattern as published, chips.py, and a folder that is complete; then the table's row."""
    monkeypatch.setattr(bench, 'standin', standin, raising=False)
    with tempfile.TemporaryDirectory() as folder:
        old = bench.run(bench.published, 30, 3)
        new = bench.run(bench.ours, 30, 3, folder=pathlib.Path(folder))
        again = bench.run(bench.ours, 30, 3, folder=pathlib.Path(folder))
    narrow = bench.run(bench.ours, 10, 4, restricted_concurrency=1, latency='create=0.3,pixels=0.3')
    assert [result.files for result in (old, new, again, narrow)] == [30, 30, 30, 10]
    assert new.kinds['create'] == new.kinds['pixels'] == 30 and new.rows == 61 and old.rows == 0
    assert not again.kinds and again.rows == new.rows
    assert narrow.throttled and narrow.rows >= 21 + narrow.throttled
    bench.row('chips', lambda result: str(result.files), [None, new], '30')
    assert capsys.readouterr().out == '| chips |  | 30 | 30 |\n'


def test_the_bench_knows_eight_items():
    done = subprocess.run([sys.executable, str(HERE / 'bench.py'), '9'], capture_output=True, text=True)
    assert done.returncode == 1 and 'python tests/bench.py 1 4' in done.stderr and not done.stdout
    assert all(callable(getattr(bench, f'item_{number}')) for number in range(1, 9))
