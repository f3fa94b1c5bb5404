"""Downloads the time series of a satellite image band for thousands of regions, many at a time.

    python timeseries.py              fetches all series that are missing
    python timeseries.py --first 10   ten of them, for a look
    python timeseries.py --keep       goes on after a change of this file, with what has come

asks Google Earth Engine for the maximum of BAND over each GAUL level 2 region of COUNTRIES in
every image of COLLECTION and saves a table a region, OUTPUT/00000.csv and so on, with a row an
image, and lists them with the regions' names in OUTPUT/regions.csv.

A maximum is the hottest pixel, so one bad pixel decides it. Set QUALITY to leave bad ones out.

For another dataset edit the constants at the top of this file, and getRequests() and
getResult() if they don't fit; nothing below them.
"""
# /// script
# requires-python = ">=3.11"
# dependencies = ["earthengine-api>=1.5.0", "filelock>=3.12", "requests>=2.33.0", "retry>=0.9.2",
#                 "tqdm>=4.60", "urllib3>=2"]
# ///
import ast
import collections
import contextlib
import csv
import datetime
import difflib
import functools
import json
import logging
import multiprocessing
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
import types
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from multiprocessing import Pool  # or ray.util.multiprocessing, for a cluster

import ee
import filelock
import httplib2
import requests
from google.auth.exceptions import GoogleAuthError, TransportError
from retry import retry
from tqdm import tqdm

# run
PROJECT = None  # Cloud project id; None: the one set with `earthengine set_project`
PROCESSES = 25  # requests at a time; the quota of a project is 40 unless Google raised it
DEADLINE = 330  # seconds until a request is given up and tried again; the service may work for 300
PATIENCE = dict(exceptions=ConnectionError, tries=20,  # of an item before others have a turn:
                delay=0.1, backoff=1.6, jitter=(0, 0.5), max_delay=3)  # after 0.1 to 3 s, 50 in all
PAUSES = [1, 10, 60]  # minutes to wait after a round of all items in which none came

# output
OUTPUT = 'timeseries'  # folder, made if need be; other results need another one
INDEX = 'regions.csv'  # in OUTPUT: the region of each file

# regions
REGIONS = 'FAO/GAUL_SIMPLIFIED_500m/2015/level2'  # non-commercial use only, see the README
COLUMNS = ['ADM0_CODE', 'ADM0_NAME', 'ADM1_CODE', 'ADM1_NAME', 'ADM2_CODE', 'ADM2_NAME']  # of INDEX
COUNTRIES = [  # each as ADM0_NAME spells it; None: all that are in REGIONS
    'Argentina', 'Bolivia', 'Brazil', 'Chile', 'Colombia', 'Ecuador', 'Falkland Islands (Malvinas)',
    'French Guiana', 'Guyana', 'Paraguay', 'Peru', 'Suriname', 'Uruguay', 'Venezuela']

# images
COLLECTION = 'MODIS/061/MOD11A2'  # land surface temperature, means of 8 days, from 2000-02-18
START = '2000-01-01'
END = None  # the day after the last; None: the newest there is when the list is made
BAND = 'LST_Day_1km'
UNIT = 0.02  # BAND * UNIT + OFFSET is in degrees Celsius
OFFSET = -273.15
FILL = 0  # BAND has this number where nothing was seen; None: no such number
DECIMALS = 2
REDUCER = 'max'  # a function of ee.Reducer with one number as result: 'max', 'mean', 'median', ...
QUALITY = None  # None: any pixel; 0: those that QUALITY_BAND calls good; 1: unreliable ones too
QUALITY_BAND = 'QC_Day'  # its last two bits are 0 where BAND is good and 1 where it is unreliable


def getRequests():
    """Returns a dict a region: file, id (GAUL's codes and names aren't unique), COLUMNS, end (the
    day after the last image) and images (how many there are)."""
    check(days(START) < days(END or '2100-01-01'), 'START must be a day before END.')
    check(COUNTRIES is None or type(COUNTRIES) is list, "COUNTRIES must be a list like ['Chile'].")
    check(type(BAND) is str, 'BAND must be the name of one band.')
    check(type(DECIMALS) is int and DECIMALS >= 0, 'DECIMALS must be a whole number from 0.')
    check(hasattr(ee.Reducer, REDUCER), f'REDUCER: Earth Engine has no {REDUCER!r}.')
    check(QUALITY in (None, 0, 1), 'QUALITY must be None, 0 or 1.')
    check(QUALITY is None or ('Night' in BAND) == ('Night' in QUALITY_BAND),
          f'QUALITY_BAND: {QUALITY_BAND} is not of the same time of day as {BAND}.')
    table, archive = ee.FeatureCollection(REGIONS), ee.ImageCollection(COLLECTION)
    regions = table
    if COUNTRIES is not None:
        regions = table.filter(ee.Filter.inList('ADM0_NAME', COUNTRIES))
    images = archive.filterDate(START, END or '2100-01-01')
    reducer = ee.Reducer.toList(1 + len(COLUMNS), len(COLUMNS))  # all but the id may be missing
    rows, count, newest, bands, outputs = ee.List([
        regions.reduceColumns(reducer, ['system:index', *COLUMNS]).get('list'), images.size(),
        images.aggregate_max('system:time_start'), archive.first().bandNames(),
        getattr(ee.Reducer, REDUCER)().getOutputs()]).getInfo()
    check(count, f'{COLLECTION} has no image between START and END.')
    for name, band in [('BAND', BAND)] + [('QUALITY_BAND', QUALITY_BAND)] * (QUALITY is not None):
        check(band in bands, f'{name}: {COLLECTION} has no band {band!r}, but {", ".join(bands)}.')
    check(len(outputs) == 1 and outputs[0] not in ('histogram', 'list'),
          f'REDUCER: {REDUCER} does not give one number, but {" and ".join(outputs)}.')
    for country in {*(COUNTRIES or [])} - {value for row in rows for value in row}:
        names = table.aggregate_histogram('ADM0_NAME').getInfo()
        near = difflib.get_close_matches(country.title(), names, 1, 0)
        sys.exit(f'COUNTRIES: {REGIONS} has no {country!r}; the nearest is {near[0]!r}.')
    rows.sort(key=lambda row: [(value is not None, value) for value in row[1:] + row[:1]])
    newest = datetime.date(1970, 1, 1) + datetime.timedelta(milliseconds=newest)
    end = END or str(newest + datetime.timedelta(1))  # the same for all, however long it takes
    return [{'file': f'{index:05}.csv', 'id': row[0], **dict(zip(COLUMNS, row[1:])), 'end': end,
             'images': count} for index, row in enumerate(rows)]


def days(text):
    """Returns the datetime.date of a text like '2000-01-31'."""
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError):
        sys.exit(f"START, END: {text!r} is no date like '2000-01-31'.")


@retry(**PATIENCE)
def getResult(index, region):
    """Saves the series of a region: date, BAND with DECIMALS, empty where nothing was seen."""
    rows = sorted(series(region['id'], days(START), days(region['end'])))
    if len(rows) != region['images']:
        fetch_part.cache_clear()
        raise ConnectionError(f'{len(rows)} rows came for {region["images"]} images')
    lines = [f'{date},{value and "%.*f" % (DECIMALS, float(value))}\n' for date, value in rows]
    save(region, lambda: ''.join([f'date,{BAND}\n', *lines]).encode())
    return '' if any(value for _, value in rows) else 'no value at all'


def series(region_id, start, end):
    """Returns [date, value] of each image from start to before end, by halves if it's too much."""
    table = fetch_part(region_id, start, end)
    if table is not None:
        return list(csv.reader(table.splitlines()))[1:]
    middle = start + (end - start) // 2
    return series(region_id, start, middle) + series(region_id, middle, end)


@functools.lru_cache(100)  # so that what has come isn't asked for again when getResult() is
@retry(**PATIENCE)  # for each part anew
def fetch_part(region_id, start, end):
    """Returns the CSV of date and value of each image, or None if it's too much for a request."""
    region = ee.FeatureCollection(REGIONS).filter(ee.Filter.eq('system:index', region_id))
    reducer = getattr(ee.Reducer, REDUCER)()

    def reduce(image):
        stored = image.select(BAND)
        values = stored.multiply(UNIT).add(OFFSET)
        if FILL is not None:  # most datasets are masked there, but not all
            values = values.updateMask(stored.neq(FILL))
        if QUALITY is not None:
            values = values.updateMask(image.select(QUALITY_BAND).bitwiseAnd(3).lte(QUALITY))
        # with no scale or crs on the image's own grid, says the signature of Image.reduceRegion
        result = values.reduceRegion(reducer, region.geometry(), maxPixels=1e9)
        return ee.Feature(None, result).set('date', image.date().format('yyyy-MM-dd'))

    images = ee.ImageCollection(COLLECTION).filterDate(str(start), str(end))
    table = ee.FeatureCollection(images.map(reduce))
    try:
        return download(table.getDownloadURL('csv', ['date', BAND]), f'date,{BAND}').decode()
    except ee.EEException as error:
        if not too_much(str(error)) or end - start < datetime.timedelta(2):
            raise
        return None


# The machinery, the same text in chips.py and timeseries.py: nothing below depends on the dataset.

free = {'PROJECT', 'PROCESSES', 'DEADLINE', 'PATIENCE', 'PAUSES', 'OUTPUT'}  # may change any time
script, folder = pathlib.Path(__file__), pathlib.Path(OUTPUT)
state, log = folder / '.list.json', folder / 'log.csv'
source = script.read_text('utf-8').split('\n# The machinery')[0]  # the part of the user
signs = {'png': (b'\x89PNG', b'IEND\xaeB`\x82'), 'jpg': (b'\xff\xd8\xff', b'\xff\xd9'),
         'tif': ((b'II*\0', b'MM\0*'), b''), 'npy': (b'\x93NUMPY', b''), 'zip': (b'PK\3\4', b'')}
no_name = re.compile(r'(^|/)($|[./]|(con|prn|aux|nul|com\d|lpt\d)([./]|$))|[. ](/|$)|[\\:\r\n\0]')
secret = re.compile(r'(?i)(thumbnails|tables|maps)(/|%2F)[0-9a-f]{8}[\w-]*|ya29\.[\w.-]+|Bearer \S+'
                    r'|access_token=[^&\s]+')
busy = re.compile('(?i)capacity exceeded|too many concurrent|rate_?limit_?exceeded').search
too_much = re.compile('Computation timed out|memory limit exceeded|5000 elements').search
session = requests.Session()  # the connections of this process
session.auth = lambda request: request  # or ~/.netrc might replace our token
ends = signal.SIGINT, signal.SIGTERM  # Ctrl-C, and what a computer sends that is shut down
set_timer = getattr(signal, 'setitimer', lambda *_: None)  # Windows has none
tqdm.monitor_interval = 0  # or its thread would run while processes are forked
items, here = {}, ''  # {file: item}; in a worker, the file of the item in work


class Nothing(Exception):
    """For getResult() to raise where there is nothing to save: Nothing('no image in July')."""


def check(fine, sentence):
    """Ends the run, in a worker the item, with a sentence for the user if it isn't fine."""
    if not fine:
        sys.exit(sentence)


def say(sentence):
    """Prints a line above the bar, if it can be printed."""
    with contextlib.suppress(Exception):
        tqdm.write(sentence, sys.stderr)


def explain(error):
    """Returns an error in a line, with no secret; a mistake above the machinery with its line."""
    text, known = str(error), (str, OSError, SystemExit, Nothing, ee.EEException, GoogleAuthError)
    if not isinstance(error, known):
        lines = [f' ({script.name}, line {frame.lineno})'
                 for frame in traceback.extract_tb(error.__traceback__)
                 if frame.filename == __file__ and frame.lineno <= source.count('\n')]
        text = f'{type(error).__name__}: {text:.900}{"".join(lines[-1:])}'
    return ' '.join(secret.sub('...', text).split())[:1000]


def note(outcome, why='', file=None):
    """Adds a row to the log, in one piece, as other processes add theirs."""
    now = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
    with open(log, 'a', newline='', encoding='utf-8', errors='replace') as rows:
        csv.writer(rows, lineterminator='\n').writerow([now, file or here, outcome, explain(why)])


def save(item, make):
    """Writes what make() returns, bytes, to the file of the item in work, if it isn't there."""
    if item['file'] != here:
        raise ValueError(f'save() takes the item that getResult() got: its one file is {here!r}')
    if not (folder / here).exists():
        put(folder / here, make())


@retry(PermissionError, tries=7, delay=0.1, backoff=2, logger=None)  # Windows: a scanner has it
def put(path, body):
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(part := path.with_name(f'.part-{path.name}'), 'wb') as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave an empty file under the name
    os.replace(part, path)


@retry(**{**PATIENCE, 'tries': 4})  # a URL holds for hours, and to get another costs a request
def download(url, kind):
    """Returns the bytes behind a URL if they are of a kind: 'png', 'jpg', 'tif', 'npy', 'zip' or a
    CSV with this line as its header, which alone is returned for an empty table."""
    body = send(url, headers={'Accept-Encoding': 'identity'})[1]
    text = body[:10000].decode('utf-8-sig', 'replace')
    came = [] if text[:1] in ('<', '{') else next(csv.reader(text.splitlines()), [])
    for name, (first, last) in signs.items():
        if body.startswith(first):
            came = [name] * body.endswith(last)
    if came == next(csv.reader([kind])) or not body.strip() and kind not in signs:
        return body if body.strip() else f'{kind}\n'.encode()
    passing = not came or len(came) < 2 and came[0] not in signs  # a page, or a part of an answer
    raise (ConnectionError if passing else ee.EEException)(
        f'download() was to get {kind!r} and got {body!r:.100}')


def send(uri, method='GET', body=None, headers=None, **_):
    """Makes every request of this script, ee's too: returns (httplib2.Response, bytes). Raises
    ConnectionError where another try may help, else ee.EEException with the service's words."""
    if here:
        os.utime(log)  # tells run() that this process is alive
    limit = DEADLINE if here else max(330, DEADLINE)  # the list may take 300 s
    host, of_result, answer, error = uri.split('/')[2], ':get' in uri, None, None
    try:
        set_timer(0, limit, 1)  # 0: ITIMER_REAL. It rings on each second, as one might get lost
        answer = session.request(method, uri, data=body, headers=headers, timeout=(20, limit))
        if answer.ok and of_result:
            if not any(name in answer.headers for name in ('Content-Length', 'Transfer-Encoding')):
                raise requests.ConnectionError  # it doesn't say where it ends
        elif host.endswith('.googleapis.com'):  # others, of credentials, may answer in plain text
            error = answer.json().get('error')  # raises if it is a page or a list
        set_timer(0, 0)
    except (requests.RequestException, AttributeError, KeyboardInterrupt) as broken:  # or the timer
        set_timer(0, 0)
        late = isinstance(broken, (requests.ReadTimeout, KeyboardInterrupt))
        raise ConnectionError(
            f'no answer from {host} in {limit} seconds{" (DEADLINE)" * bool(here)}' if late else
            f'no connection to {host}, or it broke off' if answer is None else
            f'{answer.status_code} {answer.reason}, a page or cut off, from {host}') from None
    code = answer.status_code
    if isinstance(error, dict) and (of_result or code != 401):  # ee then renews its token
        code, text = error.get('code', code), explain(error.get('message', ''))
        expired = code == 404 and of_result and 'does not exist' not in text  # but its id has
        passing = expired or code in (408, 409, 429, 499) or code >= 500 or busy(answer.text)
        raise (ConnectionError if passing and not too_much(text) else ee.EEException)(text)
    return httplib2.Response({**answer.headers, 'status': code}), answer.content


@functools.cache  # once a process
@retry(**PATIENCE)
def start_ee():
    """Starts Earth Engine on the high-volume endpoint."""
    if hasattr(signal, 'SIGALRM'):  # KeyboardInterrupt: an OSError might be taken for another
        signal.signal(signal.SIGALRM, signal.default_int_handler)
    socket.setdefaulttimeout(60)  # ee fetches its list of deprecated assets with no time limit
    ee.data.setMaxRetries(0)  # retry alone tries again
    try:  # thrice, as any bad answer is taken for a missing sign-in
        credentials = retry(tries=3, delay=1, logger=None)(ee.data.get_persistent_credentials)()
    except (TransportError, TypeError):  # the latter: a page or a list in place of an answer
        raise ConnectionError('no connection to Google: is there a network?') from None
    ee.Initialize(credentials, ee.data.HIGH_VOLUME_API_BASE_URL, project=PROJECT,
                  http_transport=types.SimpleNamespace(request=send))


def start_worker(parents_source, parents_folder):
    """Readies a worker process."""
    global edited
    edited = parents_source != source
    os.chdir(parents_folder)  # on a cluster workers start elsewhere
    logging.getLogger('retry.api').addFilter(lambda row: note('retry', row.getMessage()))
    warnings.showwarning = lambda message, *_, **__: note('warning', str(message))
    if parent := multiprocessing.parent_process():  # None on a cluster
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all, the parent acts on it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stderr = open(os.devnull, 'w')  # of the last words of one whose parent is gone
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def work(index, item):
    """Calls getResult() in a worker, and logs how it went."""
    global here
    here = item['file']
    note('begun', str(os.getpid()))
    try:
        check(not edited, f'{script} was edited in the meantime: run it again.')
        start_ee()
        remark = getResult(index, item)
        check((folder / here).exists(), 'getResult() did not save() its file.')
        note('done', str(remark or ''))
    except BaseException as error:
        passing, nothing = (ConnectionError, KeyboardInterrupt), isinstance(error, Nothing)
        note('again' if isinstance(error, passing) else 'nothing' if nothing else 'failed', error)


def recipe(text):
    """Returns {name: value} of all in a script's text but imports; comments don't count."""
    return {getattr(part, 'name', ast.unparse(part).split(' = ')[0]):
            ast.unparse(getattr(part, 'value', None) or part)
            for part in ast.parse(text).body[1:] if type(part) not in (ast.Import, ast.ImportFrom)}


def get_list(keep):
    """Fills items with the list that the folder was begun with or, where nothing has come of it or
    the user keeps what has, a new one in which all that has come is the same; returns warnings."""
    path = ee.oauth.get_credentials_path()
    stored = ee.oauth.get_credentials_arguments() if os.path.exists(path) else {}
    project = PROJECT or stored.get('quota_project_id') or ee.oauth.get_appdefault_project()
    text = f'{source}\nproject = {project!r}'  # that of the stand-in has other results
    made = json.loads(state.read_text('utf-8')) if state.exists() else {'items': {}}
    came = {file: item for file, item in made['items'].items() if (folder / file).exists()}
    if came and not keep:
        old, new = recipe(made['text']), recipe(text)
        told = [f'{name}: {new[name]} now, the results in {OUTPUT} were made with {old[name]}'
                if name in old and '\n' not in new.get(name, '\n') else f'{name} has changed'
                for name in sorted({*old, *new} - free) if old.get(name) != new.get(name)]
        check(not told, f'{"; ".join(told)}. Change it back, set OUTPUT to a new folder, or go on '
                        'all the same with --keep.')
    else:
        say('Asking Earth Engine for the list of items.')
        with warnings.catch_warnings(record=True) as warned:
            new = new_items()
        for file in came:
            check(came[file] == new.get(file), f'{folder / file} was made for {came[file]}; the '
                  f'new list has {new.get(file)}. Set OUTPUT to a new folder.')
        made = {'text': text, 'items': new, 'warned': [str(one.message) for one in warned]}
        put(state, json.dumps(made).encode())
    if not came or not log.exists():
        put(log, b'time,file,outcome,why\n')
    items.update(made['items'])
    rows = [*items.values()]
    with open(folder / INDEX, 'w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows([rows[0], *map(dict.values, rows)])
    return made['warned']


def new_items():
    """Returns {file: item} of getRequests(), as later runs will read it, if it can be used."""
    start_ee()
    found, names = retry(**PATIENCE)(getRequests)(), {INDEX, log.name}
    check(found, 'getRequests() found nothing to do.')
    for item in found:
        fine = type(item) is dict and item.keys() == found[0].keys()
        name = item['file'].casefold() if fine and type(item.get('file')) is str else ''
        check(name not in names and not no_name.search(name),
              "getRequests() has to return dicts with the same keys, and each 'file' has to be a "
              f'name of its own that is fit for a file on every system, not {item}.')
        names.add(name)
    try:
        return json.loads(json.dumps({item['file']: {key: item[key] for key in found[0]}
                                      for item in found}, allow_nan=False))
    except (TypeError, ValueError) as error:
        sys.exit(f'getRequests(): items hold text, numbers and None, and one has another: {error}.')


def leave(status, why):
    """Ends this process and its workers at once; what they leave undone, the next run fetches."""
    there = sum((folder / file).exists() for file in items)
    count = f': {there:,} of {len(items):,} are there' if items else ''
    with contextlib.suppress(Exception):  # below the bar
        print(f'\n{why}{count}. Run it again to go on.', file=sys.stderr)
    sys.setswitchinterval(60)  # or the pool's thread could start others in place of these
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(status)


def run(jobs, rows, told, bar):
    """Has workers do jobs, [(index, item)], until all are tried or one is killed, and keeps told
    and the bar; returns the process ids of those that then lived, {number: id}."""
    session.close()  # or forked workers would share its connections
    first = int(multiprocessing.Process().name.split('-')[1]) + 1  # processes are numbered
    numbers = [*range(first, first + min(PROCESSES, len(jobs)))]
    # workers ignore Ctrl-C from their first moment, and nobody ends this process while one starts
    handlers = [(number, signal.signal(number, signal.SIG_IGN)) for number in ends]
    pool = Pool(len(numbers), start_worker, [source, os.getcwd()])
    for number, handler in handlers:
        signal.signal(number, handler)
    one = {'chunksize': 1} if Pool == multiprocessing.Pool else {}  # Ray's has no such argument
    alive = watch(pool.starmap_async(work, jobs, **one), numbers, rows, told, bar)
    ending = threading.Thread(target=pool.terminate, daemon=True)  # a killed one may have its lock
    ending.start()
    ending.join(1)
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()
    return alive


def watch(result, numbers, rows, told, bar):
    """Keeps told, {file: (outcome, why)}, and the bar by the log until the result is ready, or the
    workers are no longer those with these numbers, or stuck; returns what run() does."""
    over, last, idle, sign, alive = False, '', 0, 0, {}
    # half seconds; one that was killed early may have a lock for which all others wait
    while not over and sorted(alive) in ([], numbers) and idle < 2 * DEADLINE + 120:
        result.wait(0.5)
        over = result.ready()  # before the rows are read, which then are all
        alive = {int(worker.name.split('-')[1]): str(worker.pid)
                 for worker in multiprocessing.active_children()}  # on a cluster none
        for _, file, outcome, why in (row for row in rows if len(row) == 4):
            if outcome not in ('retry', 'warning'):
                told[file] = outcome, why
            last = last if outcome in ('begun', 'done') else f', last: {why:.40}'
            bar.update(outcome in ('done', 'nothing'))
        ended = [outcome for outcome, _ in told.values()]
        failed, nothing = ended.count('failed'), ended.count('nothing')
        bar.set_postfix_str(f'{failed} failed, {nothing} nothing{last}')
        if not sys.stderr.isatty() and (over or time.time() % 30 < 0.5):
            say(str(bar))
        if shutil.disk_usage(folder).free < 1 << 20:
            leave(1, f'The disk of {OUTPUT} is full')
        idle, sign = (idle + 1 if log.stat().st_mtime_ns == sign else 0), log.stat().st_mtime_ns
    if not over:
        say('A process was killed, for lack of memory perhaps, or is stuck: the rest begins again.')
    return alive


def fetch(most, warned):
    """Fetches what is missing, or so many items of it, and returns what report() does."""
    lines = open(log, newline='', encoding='utf-8', errors='replace')
    rows = map(lambda line: next(csv.reader([line])), lines)  # half a row spoils no other
    told = {row[1]: row[2:] for row in rows
            if len(row) == 4 and row[1] in items and row[2] in ('done', 'nothing')}
    todo = [(index, item) for index, (file, item) in enumerate(items.items())
            if not (folder / file).exists() and told.get(file, [''])[0] != 'nothing']
    bar = tqdm(total=len(items), initial=len(items) - len(todo), ascii=' #', dynamic_ncols=True,
               file=sys.stderr if sys.stderr.isatty() else open(os.devnull, 'w'))
    jobs, pauses = random.sample(todo, len(todo))[:most], [0, *PAUSES]
    told.update({item['file']: ('again', 'not tried yet') for _, item in jobs})
    kills = collections.Counter()
    while jobs and pauses:
        if pause := pauses.pop(0):
            say(f'Nothing came in this round. The next is in {pause} minutes.')
            time.sleep(60 * pause)
        start_ee()
        before, alive = (len(jobs), kills.total()), run(jobs, rows, told, bar).values()
        for file, (outcome, why) in [*told.items()]:
            if outcome == 'begun':
                kills[file] += why not in alive
                twice = 'failed', 'its process was killed twice, for lack of memory perhaps'
                told[file] = twice if kills[file] > 1 else ('again', 'its process was ended')
                note(*told[file], file)
        jobs = [(index, item) for index, item in jobs
                if told[item['file']][0] == 'again' and not (folder / item['file']).exists()]
        jobs.sort(key=lambda job: kills[job[1]['file']])  # those that kill come last
        if (len(jobs), kills.total()) != before:
            pauses = [0, *PAUSES]
    bar.close()
    return report(told, warned, 'are' if todo else 'were already')


def report(told, warned, verb):
    """Tells what has become of the items; returns whether one is missing that was tried."""
    there = {file for file in items if (folder / file).exists()}
    say(f'{len(there)} of {len(items)} {verb} in {OUTPUT}, listed in {INDEX}.')
    kinds = collections.defaultdict(list)  # {(outcome, why but for quotes and numbers): files}
    for file, (outcome, why) in sorted(told.items()):
        if why and (file not in there or outcome in ('done', 'failed')):
            kinds[outcome, re.sub(r"'[^']*'|\d+", '', why)].append(file)
    for (outcome, _), files in sorted(kinds.items(), key=lambda kind: -len(kind[1]))[:20]:
        say(f'{len(files)} {outcome}: {told[files[0]][1]} ({", ".join(files[:3])}'
            f'{", ..." * (len(files) > 3)})')
    if len(kinds) > 20:
        say(f'... and {len(kinds) - 20} more reasons, which {log} tells.')
    for sentence in warned:
        say(f'Warning: {sentence}')
    missing = [why for outcome, why in kinds if outcome in ('failed', 'again')]
    if missing:
        mend = any(why.endswith(', line )') for why in missing)
        say(f'{"Mend the script first, then run it with --keep" if mend else "Run it again"} '
            f'to try these again; {log} tells of each try.')
    return bool(missing) or not there


def main():
    """Gets the list, fetches what is missing, tells how it went, and exits with 1 if ill."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--first', type=int, metavar='N', help='fetch N of the missing items only')
    parser.add_argument('--keep', action='store_true', help='go on after a change of the script')
    options, lock = parser.parse_args(), filelock.FileLock(folder / '.lock')
    sys.stderr = sys.stderr or open(os.devnull, 'w')
    os.environ['PYTHONWARNINGS'] = 'ignore:resource_tracker'  # of semaphores that leave() leaves
    handlers = [(number, signal.signal(number, lambda number, _: leave(128 + number, 'Stopped')))
                for number in ends if signal.getsignal(number) != signal.SIG_IGN]
    try:
        check(type(PROCESSES) is int and PROCESSES > 0 and (os.name != 'nt' or PROCESSES < 61),
              'PROCESSES must be a whole number above 0, on Windows at most 60.')
        if PROCESSES > 40:
            say(f'Warning: PROCESSES: {PROCESSES} is above the usual quota, 40 requests at once.')
        if not state.exists():
            say('Signing in to Earth Engine.')
            start_ee()  # before a folder is made
            folder.mkdir(parents=True, exist_ok=True)
            check(not [*folder.glob('[!.]*')],
                  f'{OUTPUT} has files that this script did not make: set OUTPUT to a new folder.')
        try:
            lock.acquire(timeout=0)
        except (OSError, NotImplementedError) as why:
            check(not isinstance(why, filelock.Timeout), f'{OUTPUT}: another run is at work here.')
            say(f'Warning: do not run it twice at once, as {OUTPUT} cannot be locked ({why}).')
        for part in folder.rglob('.part-*'):  # of a run that was killed
            part.unlink(missing_ok=True)
        status = fetch(options.first, get_list(options.keep))
    except (Exception, SystemExit) as error:
        status = explain(error).replace(
            'Call with project=', 'Set PROJECT, or type: earthengine set_project ID,')
        if multiprocessing.active_children():
            leave(1, status)
    finally:
        lock.release()
        for number, handler in handlers:
            signal.signal(number, handler)
    sys.exit(status)


if __name__ == '__main__':
    main()
