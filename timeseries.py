"""Downloads the time series of a satellite image band for thousands of regions, many at a time.

    python timeseries.py

asks Google Earth Engine for the maximum of BAND over each GAUL level 2 region of COUNTRIES in
every image of COLLECTION and saves a table a region: OUTPUT/00000.csv and so on, with a row an
image, listed with the regions' names in OUTPUT/regions.csv. Run it again after a failure or an
interruption: it fetches what is missing.

A maximum is the hottest pixel, so one bad pixel decides it. Set QUALITY to leave bad ones out.

For another dataset edit the constants at the top of this file, and getRequests() and
getResult() if they don't fit; nothing below them.
"""
import argparse
import collections
import contextlib
import csv
import datetime
import functools
import io
import itertools
import json
import logging
import multiprocessing.resource_tracker
import os
import pathlib
import pprint
import random
import re
import signal
import socket
import sqlite3
import sys
import threading
import traceback
import types
import warnings
from multiprocessing import Pool  # or ray.util.multiprocessing, for a cluster

import ee
import google.auth.exceptions
import google_auth_httplib2
import httplib2
import requests
from retry import retry
from tqdm import tqdm

# run
PROJECT = None  # Cloud project id; None: the one set with `earthengine set_project`
PROCESSES = 25  # requests at a time; the quota of a project is 40 unless Google raised it
DEADLINE = 330  # seconds until a request is given up; the service may work for 300
PATIENCE = dict(exceptions=ConnectionError, tries=12,  # of an item, before others have a turn
                delay=2, backoff=2, max_delay=5, jitter=(0, 1))  # seconds between tries

# output
OUTPUT = 'timeseries'  # folder, made if need be; other results need another one
INDEX = 'regions.csv'  # in OUTPUT: the region of each file

# regions
REGIONS = 'FAO/GAUL_SIMPLIFIED_500m/2015/level2'  # non-commercial use only, see the README
COUNTRIES = [  # each as ADM0_NAME spells it
    'Argentina', 'Bolivia', 'Brazil', 'Chile', 'Colombia', 'Ecuador', 'Falkland Islands (Malvinas)',
    'French Guiana', 'Guyana', 'Paraguay', 'Peru', 'Suriname', 'Uruguay', 'Venezuela']

# images
COLLECTION = 'MODIS/061/MOD11A2'  # land surface temperature, means of 8 days, from 2000-02-18
START = '2000-01-01'
END = None  # the day after the last; None: the newest there is
BAND = 'LST_Day_1km'
UNIT = 0.02  # BAND * UNIT + OFFSET is in degrees Celsius
OFFSET = -273.15
FILL = 0  # BAND has this number where nothing was seen; None: no such number
DECIMALS = 2
REDUCER = 'max'  # a function of ee.Reducer with one result: 'max', 'mean', 'median', 'count', ...
QUALITY = None  # None: any pixel; 0: only those that QC_Day calls good; 1: the unreliable too


def getRequests():
    """Returns a dict a region: file, id (GAUL's codes and names aren't unique), codes, names."""
    check(days(START) < days(END), 'START must be a day before END.')
    check(QUALITY in (None, 0, 1), 'QUALITY must be None, 0 or 1.')
    check(type(COUNTRIES) is list, "COUNTRIES must be a list like ['Chile'].")
    check(type(BAND) is str, 'BAND must be the name of one band.')
    check(type(DECIMALS) is int and DECIMALS >= 0, 'DECIMALS must be a whole number from 0.')
    check(hasattr(ee.Reducer, REDUCER), f'REDUCER: Earth Engine has no {REDUCER!r}.')
    columns = ['system:index', 'ADM0_CODE', 'ADM0_NAME',
               'ADM1_CODE', 'ADM1_NAME', 'ADM2_CODE', 'ADM2_NAME']
    regions = ee.FeatureCollection(REGIONS).filter(ee.Filter.inList('ADM0_NAME', COUNTRIES))
    reducer = ee.Reducer.toList(len(columns), len(columns) - 1)  # all but the id may be missing
    rows = regions.reduceColumns(reducer, columns).get('list')
    images = ee.ImageCollection(COLLECTION).filterDate(str(days(START)), str(days(END)))
    rows, count = ee.List([rows, images.size()]).getInfo()
    check(count, f'{COLLECTION} has no image between START and END.')
    for country in COUNTRIES:
        check(any(row[2] == country for row in rows), f'COUNTRIES: {REGIONS} has no {country!r}.')
    rows.sort(key=lambda row: (row[2], row[3] or 0, row[5] or 0, row[0]))
    return [{'file': f'{index:05}.csv', 'id': row[0], **dict(zip(columns[1:], row[1:]))}
            for index, row in enumerate(rows)]


def days(text):
    """Returns the datetime.date of a constant like '2000-01-31', or of tomorrow for None."""
    try:
        tomorrow = datetime.date.today() + datetime.timedelta(days=1)
        return tomorrow if text is None else datetime.date.fromisoformat(text)
    except (TypeError, ValueError):
        sys.exit(f"START, END: {text!r} is no date like '2000-01-31'.")


@retry(**PATIENCE)
def getResult(index, region):
    """Saves the series of a region: date, value with DECIMALS, empty where nothing was seen."""
    def table():
        rows = sorted(series(region['id'], days(START), days(END)))
        lines = [f'{date},{value and "%.*f" % (DECIMALS, float(value))}\n' for date, value in rows]
        return ''.join([f'date,{BAND}\n', *lines]).encode()
    save(region['file'], table)


def series(region_id, start, end):
    """Returns [date, value] of each image from start to before end, by halves if it's too much."""
    table = fetch(region_id, start, end)
    if table is not None:
        return list(csv.reader(table.splitlines()))[1:]
    middle = start + (end - start) // 2
    return series(region_id, start, middle) + series(region_id, middle, end)


@functools.lru_cache(100)  # so that what has come isn't asked for again when getResult() is
def fetch(region_id, start, end):
    """Returns the CSV of date and value of each image, or None if it's too much for a request."""
    region = ee.FeatureCollection(REGIONS).filter(ee.Filter.eq('system:index', region_id))
    reducer = getattr(ee.Reducer, REDUCER)()

    def reduce(image):
        stored = image.select(BAND)
        values = stored.multiply(UNIT).add(OFFSET)
        if FILL is not None:  # most datasets are masked there, but not all
            values = values.updateMask(stored.neq(FILL))
        if QUALITY is not None:
            values = values.updateMask(image.select('QC_Day').bitwiseAnd(3).lte(QUALITY))
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

settings = {name: pprint.pformat(value, width=1)  # not repr(): the order of a set would change
            for name, value in globals().items()  # all constants that results depend on
            if name.isupper() and not callable(value)
            and name not in ('PROJECT', 'PROCESSES', 'OUTPUT', 'DEADLINE', 'PATIENCE')}
signs = {'png': (b'\x89PNG', b'IEND\xaeB`\x82'), 'jpg': (b'\xff\xd8', b'\xff\xd9'),
         'tif': ((b'II', b'MM'), b''), 'npy': (b'\x93NUMPY', b''), 'zip': (b'PK', b'')}
too_much = re.compile('Computation timed out|memory limit exceeded|5000 elements').search
refusals = ee.EEException, PermissionError, google.auth.exceptions.GoogleAuthError
folder = pathlib.Path(OUTPUT)
state = folder / '.run.json'  # its settings and items
failed = folder / '.failed.csv'  # file, why it is missing, fate: 'again', 'never', 'end the run'
session = requests.Session()  # the connections of this process
session.auth = lambda request: request  # or ~/.netrc might replace our token
edited = False  # whether this file has other constants than the run was begun with
stopped = 0  # the signal that has come
credentials = http = None  # set by start_ee()
saved = {}  # {name: bytes} of the item in work, which work() writes when it has them all


def check(fine, sentence):
    """Ends the run, in a worker the item, with a sentence for the user if it isn't fine."""
    if not fine:
        sys.exit(sentence)


def save(name, make):
    """Takes what make() returns, bytes, for the file OUTPUT/name, unless that is there already."""
    check(os.path.basename(name) == name != '..', f'{name!r} is no plain file name.')
    if name not in saved and not (folder / name).exists():
        saved[name] = make()


def put(name, body):
    """Writes OUTPUT/name, whole or not at all."""
    part = folder / f'{name}.part'
    try:
        with open(part, 'wb') as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave an empty file under the name
        os.replace(part, folder / name)
    except OSError as error:
        raise PermissionError(f"{folder / name} can't be written: {error.strerror}") from None


def download(url, kind):
    """Returns the bytes behind url if they are what kind says: one of signs or a CSV's header."""
    response, body = http.request(url, headers={'Accept-Encoding': 'identity'})
    if response.status == 401:
        raise PermissionError('401 Unauthorized')
    if kind in signs:
        start, end = signs[kind]
        fine = body.startswith(start) and body.endswith(end)
    else:
        fine = body.split(b'\n')[0].strip() == kind.encode()
    if not fine:
        raise ConnectionError(f'the service sent something other than {kind}')
    return body


@contextlib.contextmanager
def limit(seconds):
    """Turns errors of the network, and an answer that takes longer, into a ConnectionError."""
    alarm = getattr(signal, 'alarm', int)  # int does nothing: Windows waits for what trickles
    try:
        try:  # two, as the alarm may still ring before alarm(0)
            alarm(int(seconds) + 1)
            yield
        finally:
            alarm(0)
    except (requests.RequestException, KeyboardInterrupt) as error:  # the last is the alarm
        # its text may hold the URL, a secret
        raise ConnectionError(f'no complete answer ({type(error).__name__})') from None


def send(uri, method='GET', body=None, headers=None, **_):
    """Makes every request of this script, ee's too: returns (httplib2.Response, bytes).

    Raises ConnectionError where another try may help, PermissionError where only the user can,
    and ee.EEException, with the service's words, where this request can never pass.
    """
    seconds = 330 if ':compute' in uri else DEADLINE  # getInfo() may take the service 300
    with limit(seconds):
        answer = session.request(method, uri, data=body, headers=headers, timeout=seconds)
        if answer.ok and re.search(':get|:computePixels', uri):  # has to say where it ends
            whole = (answer.headers.get('Transfer-Encoding') == 'chunked' or
                     answer.headers.get('Content-Length') == str(answer.raw.tell()))
        elif answer.ok:  # JSON, or json() raises; an error may come under this status, too
            whole = set(answer.json()) - {'error'}
        else:
            whole = answer.text[:1] != '{' or answer.json()
        if not whole:
            raise requests.ConnectionError
    if not answer.ok:
        try:
            text = str(answer.json()['error']['message'])
        except (ValueError, LookupError, TypeError):  # it is a page
            page = re.sub('(?is)<style.*?</style>|<.*?>', ' ', answer.text)[:300]
            text = f'{answer.status_code} {answer.reason} {page}'
        # ids of results and tokens are secrets
        text = re.sub(r'(?i)(thumbnails|tables)(/|%2F)[\w-]+|ya29\.[\w.-]+', '...', text)
        busy = answer.status_code in (408, 429) or answer.status_code >= 500 or re.search(
            'capacity exceeded|Too many concurrent|rateLimitExceeded', answer.text, re.I)
        if busy and not too_much(text):
            raise ConnectionError(text)
        if answer.status_code == 403:
            raise PermissionError(text)
        # google.auth deals with what is left, a 401 and the answers of the token's server
        if answer.status_code != 401 and uri.startswith(ee.data.HIGH_VOLUME_API_BASE_URL):
            raise ee.EEException(text)
    return httplib2.Response({**answer.headers, 'status': answer.status_code}), answer.content


@retry(**PATIENCE)
def start_ee():
    """Starts Earth Engine in this process, on the high-volume endpoint, if need be."""
    global credentials, http
    if http:
        return
    if hasattr(signal, 'SIGALRM'):  # KeyboardInterrupt: an OSError might be taken for another
        signal.signal(signal.SIGALRM, signal.default_int_handler)
    socket.setdefaulttimeout(60)  # ee fetches its list of deprecated assets with no time limit
    ee.data.setMaxRetries(0)  # retry alone tries again
    # it asks for a token by itself, and takes any bad answer for a missing sign-in
    sign_in = retry(tries=3, delay=1, logger=None)(limit(20)(ee.data.get_persistent_credentials))
    credentials = credentials or sign_in()
    transport = types.SimpleNamespace(request=send)
    ee.Initialize(credentials, ee.data.HIGH_VOLUME_API_BASE_URL, project=PROJECT,
                  http_transport=transport)
    http = google_auth_httplib2.AuthorizedHttp(credentials, transport)


def start_worker(parents_credentials, parents_settings, parents_cwd):
    """Readies a worker process."""
    global credentials, edited
    credentials, edited = parents_credentials, parents_settings != settings
    os.chdir(parents_cwd)  # on a cluster workers start elsewhere
    logging.disable()  # of each try that fails
    if not multiprocessing.current_process().name.endswith('-1'):  # a warning is enough once
        warnings.showwarning = lambda *_, **__: None
    if parent := multiprocessing.parent_process():  # None on a cluster
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all, the parent acts on it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        hold(False)
        # this process ends with its parent, even one that is killed
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def work(index, item):
    """Calls getResult() in a worker and writes what it saved, or notes in failed why not."""
    saved.clear()
    try:
        if edited:  # a new process reads this file again, except after a fork
            raise PermissionError(f'{__file__} was edited in the meantime: run it again.')
        start_ee()
        getResult(index, item)
        for name in sorted(saved, key=lambda name: name == item['file']):  # that one comes last:
            put(name, saved[name])  # where it is the item is done
    except BaseException as error:
        fatal = (isinstance(error, (PermissionError, google.auth.exceptions.GoogleAuthError))
                 or 401 in [getattr(e, 'status_code', 0) for e in (error, error.__context__)])
        passing = isinstance(error, (ConnectionError, KeyboardInterrupt))
        fate = 'end the run' if fatal else 'again' if passing else 'never'
        try:
            with open(failed, 'a', newline='', encoding='utf-8', errors='replace') as file:
                csv.writer(file).writerow([item['file'], explain(error), fate])
        except OSError as full:  # the disk, mostly
            sys.exit(100 + full.errno)  # for run() to see


def explain(error):
    """Says in a line what went wrong, and where if it is a mistake in this file."""
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return f'{error.args[0]} (To sign in: earthengine authenticate.)'
    text = ' '.join(str(error).split())[:1000] or type(error).__name__
    if isinstance(error, (*refusals, ConnectionError, SystemExit)):  # the last from check()
        return text
    frames = traceback.extract_tb(error.__traceback__)
    line = [frame.lineno for frame in frames if frame.filename == __file__][-1]
    return f'{type(error).__name__}: {text} ({os.path.basename(__file__)}, line {line})'


def look(items):
    """Returns {file: (why, fate)} of the items whose files are missing; ends a run in vain."""
    with open(failed, newline='', encoding='utf-8', errors='replace') as file:
        noted = {row[0]: row[1:] for row in csv.reader(file) if len(row) == 3}  # no half row
    for why, fate in noted.values():
        check(fate != 'end the run', why)
    there = set(os.listdir(folder))
    unknown = ('not tried, its process was killed, or getResult() did not save() it', 'again')
    missing = {item['file']: noted.get(item['file'], unknown)
               for item in items if item['file'] not in there}
    hopeless = [why for why, fate in missing.values() if fate == 'never']
    # drawn at random, and so many as failures may be quicker than results
    if len(hopeless) >= max(25, 4 * PROCESSES) and len(missing) == len(items):
        sys.exit(f'The first {len(hopeless)} all failed, one of them: {hopeless[-1]}')
    return missing


def get_items():
    """Returns the items that the folder was begun with if it has results, or else new ones."""
    there = set(os.listdir(folder))
    before, items = json.loads(state.read_text('utf-8')) if state.exists() else ({}, [])
    changed = sorted({name for name, _ in before.items() ^ settings.items()})
    if items and any(name[0] != '.' for name in there - {INDEX}):  # getResult() may save others
        check(not changed, f'{", ".join(changed)}: not what the results in {OUTPUT} were made '
                           'with. Change it back, or set OUTPUT to a new folder.')
    if any(item['file'] in there for item in items):
        print(f'Going on with the {len(items)} items that {OUTPUT} was begun with; for a new list '
              'set OUTPUT to a new folder.')
        if INDEX in there:
            return items
    else:
        start_ee()
        items = retry(**PATIENCE)(getRequests)()
        check(items, 'getRequests() found nothing to do.')
        files = [item['file'] for item in items]
        taken = ['', '.', '..', '.lock', INDEX, state.name, failed.name]
        name, count = collections.Counter(map(str.casefold, taken + files)).most_common(1)[0]
        check(count == 1, f"getRequests(): each needs a 'file' of its own, not {name!r} again.")
        check(state.exists() or there.isdisjoint([INDEX, *files]),
              f'{OUTPUT} has files of another origin: set OUTPUT to a new folder.')
        text = json.dumps([settings, items], ensure_ascii=False)
        items = json.loads(text)[1]  # as a later run will see them
        put(state.name, text.encode())
    table = io.StringIO()
    writer = csv.DictWriter(table, items[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(items)
    put(INDEX, table.getvalue().encode())
    return items


def stop(number, frame):
    """Ends the run on Ctrl-C and SIGTERM."""
    global stopped
    stopped = number  # for run(): Python drops an exit that is raised amid its clean-ups
    signal.signal(number, signal.SIG_IGN)  # once is enough
    tqdm.write('Stopped. Run it again to go on from here.', file=sys.stderr)
    sys.exit(128 + number)


def hold(on):
    """Holds back Ctrl-C and SIGTERM, in new processes too until start_worker() (not on Windows)."""
    if hasattr(signal, 'pthread_sigmask'):
        if on and multiprocessing.get_start_method() != 'fork':
            multiprocessing.resource_tracker.ensure_running()  # Pool would, and that lets all go
        signal.pthread_sigmask(signal.SIG_BLOCK if on else signal.SIG_UNBLOCK,
                               [signal.SIGINT, signal.SIGTERM])


def run(items, waiting, processes):
    """Gives waiting, [(index, item)], to worker processes; returns whether one was killed."""
    start_ee()
    hold(Pool == multiprocessing.Pool)  # a cluster's own processes would stay so
    session.close()  # or forked workers would share its connections
    pool = Pool(min(processes, len(waiting)), start_worker, [credentials, settings, os.getcwd()])
    workers = multiprocessing.active_children()  # none on a cluster

    def fan_out():  # in a thread, as starmap_async() of Ray takes no chunksize
        with contextlib.suppress(Exception):  # of a cluster that lost a worker; look() knows it
            pool.starmap(work, random.sample(waiting, len(waiting)), chunksize=1)
    fan = threading.Thread(target=fan_out, daemon=True)
    terminal = sys.stderr.isatty()
    bar = tqdm(total=len(items), ascii=not terminal, initial=len(items) - len(waiting),
               leave=False, file=sys.stderr if terminal else open(os.devnull, 'w'))
    try:
        signal.signal(signal.SIGTERM, stop)  # again: a cluster's Pool has set its own
        hold(False)
        fan.start()
        for second in itertools.count():
            fan.join(1)
            bar.leave = over = not fan.is_alive()  # before look(), which then sees the last result
            left = sum(fate == 'again' for _, fate in look(items).values())
            bar.update(len(items) - left - bar.n)
            if not terminal and (over or second % 30 == 0):
                print(bar, file=sys.stderr)
            codes = [worker.exitcode or 0 for worker in workers]
            if 100 < max(codes, default=0) < 255:  # work() could not even write why
                sys.exit(f"{OUTPUT} can't be written: {os.strerror(max(codes) - 100)}")
            if stopped:
                sys.exit(128 + stopped)
            if over or any(codes):
                return any(codes)
    finally:
        bar.close()
        # terminate() may wait for a worker that still starts, or a lock that a killed one had
        ending = threading.Thread(target=pool.terminate, daemon=True)
        ending.start()
        ending.join(1)
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join()
        ending.join(1)


def main():
    """Gets the items, fetches what is missing, and tells how it went."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    tqdm.set_lock(threading.RLock())  # its own has a semaphore, which stop() might leak
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    check(type(PROCESSES) is int and PROCESSES > 0, 'PROCESSES must be a whole number above 0.')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / '.lock', timeout=0)
        lock.execute('BEGIN EXCLUSIVE')  # the system lifts it when this process ends, even killed
        for part in folder.glob('*.part') if state.exists() else []:  # else they aren't ours
            part.unlink()
        failed.write_text('')
    except (OSError, sqlite3.Error) as error:
        locked = str(error) == 'database is locked'
        sys.exit(f'{OUTPUT}: another run is at work here.' if locked else
                 f'OUTPUT: {OUTPUT!r} is no folder that can be written to ({error}).')
    try:
        items = get_items()
        processes, before = PROCESSES, None
        while True:
            again = {file for file, (_, fate) in look(items).items() if fate == 'again'}
            if len(again) in (0, before):  # all is done, or the last round fetched nothing
                break
            before = len(again)
            waiting = [job for job in enumerate(items) if job[1]['file'] in again]
            if run(items, waiting, processes):
                before = before if processes == 1 else None
                processes = max(1, processes - 1)
                print('A worker process was killed, perhaps for lack of memory: going on with '
                      f'{processes}.', file=sys.stderr)
    except Exception as error:
        hint = ('' if http or not isinstance(error, refusals) else
                ' (To sign in: earthengine authenticate. To name a project: earthengine '
                'set_project ID, or PROJECT at the top of this file.)')
        sys.exit(explain(error) + hint)
    missing = look(items)
    print(f'{len(items) - len(missing)} of {len(items)} are in {OUTPUT}, listed in {INDEX}.')
    for why, count in collections.Counter(why for why, _ in missing.values()).most_common(20):
        files = [file for file in missing if missing[file][0] == why][:3] + ['...'] * (count > 3)
        print(f'{count} failed: {why} ({", ".join(files)})', file=sys.stderr)
    check(not missing, f'Run it again to try these again; {failed} lists each failure.')


if __name__ == '__main__':
    # Ray would send a copy of all that __main__ defines with each item, but not of a module
    main() if Pool == multiprocessing.Pool else __import__(pathlib.Path(__file__).stem).main()
