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
import importlib
import io
import itertools
import json
import math
import multiprocessing
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
from retry.api import retry_call
from tqdm import tqdm

# run
PROJECT = None  # Cloud project id; None: the one set with `earthengine set_project`
PROCESSES = 25  # requests at a time; the quota of a project is 40 unless Google raised it
DEADLINE = 330  # seconds until a request is given up; the service may work for 300
PATIENCE = dict(exceptions=ConnectionError, tries=12,  # of an item, within about a minute
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
    check(hasattr(ee.Reducer, REDUCER), f'REDUCER: Earth Engine has no {REDUCER!r}.')
    columns = ['system:index', 'ADM0_CODE', 'ADM0_NAME',
               'ADM1_CODE', 'ADM1_NAME', 'ADM2_CODE', 'ADM2_NAME']
    regions = ee.FeatureCollection(REGIONS).filter(ee.Filter.inList('ADM0_NAME', COUNTRIES))
    reducer = ee.Reducer.toList(len(columns), len(columns) - 1)  # all but the id may be missing
    rows = regions.reduceColumns(reducer, columns).get('list').getInfo()
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


@retry(**PATIENCE, logger=None)
def getResult(index, region):
    """Saves the series of a region: date, value with DECIMALS, empty where nothing was seen."""
    def table():
        rows = sorted(series(region['id'], days(START), days(END)))
        lines = [f'{date},{value and "%.*f" % (DECIMALS, float(value))}\n' for date, value in rows]
        return ''.join([f'date,{BAND}\n', *lines]).encode()
    save(region['file'], table)


def series(region_id, start, end):
    """Returns [date, value] of each image from start to before end, by halves if it's too much."""
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
        text = download(table.getDownloadURL('csv', ['date', BAND]), f'date,{BAND}').decode()
        return list(csv.reader(text.splitlines()))[1:]
    except ee.EEException as error:
        middle = start + (end - start) // 2
        if middle == start or not re.search('timed out|memory limit|5000 elements', str(error)):
            raise
        return series(region_id, start, middle) + series(region_id, middle, end)


# The machinery, the same text in chips.py and timeseries.py: nothing below depends on the dataset.

SETTINGS = {name: pprint.pformat(value, width=1)  # sets are sorted only where lines are full
            for name, value in globals().items() if name.isupper() and name not in
            ('PROJECT', 'PROCESSES', 'OUTPUT', 'DEADLINE', 'PATIENCE')}  # what results depend on
STATE = '.run.json'  # in OUTPUT: its SETTINGS and items
FAILED = '.failed.csv'  # in OUTPUT: file ('' for the whole run), reason, 'later' or '' for never
SIGNS = {'png': (b'\x89PNG', b'IEND\xaeB`\x82'), 'jpg': (b'\xff\xd8', b'\xff\xd9'),
         'tif': ((b'II', b'MM'), b''), 'npy': (b'\x93NUMPY', b''), 'zip': (b'PK', b'')}
REFUSALS = ee.EEException, PermissionError, google.auth.exceptions.GoogleAuthError
alarm = getattr(signal, 'alarm', int)  # int does nothing: Windows waits for what trickles
folder = pathlib.Path(OUTPUT)
session = requests.Session()  # the connections of this process, never shared, not even by a fork
session.auth = lambda request: request  # or ~/.netrc might replace our token
credentials = http = None  # set by start()
deadline = 330  # seconds: getRequests() may need 300, the service's limit; begin() lowers it
saved = []  # names of complete files, still NAME.part, that commit() has yet to put in place


def check(fine, sentence):
    """Ends the run with a sentence for the user if something isn't fine."""
    if not fine:
        sys.exit(sentence)


def save(name, make):
    """Writes the bytes that make() returns as OUTPUT/name; doesn't call it if the file is there."""
    if os.path.basename(name) != name:
        raise ValueError(f'{name!r} is no plain file name')
    if name not in saved and not (folder / name).exists():
        body = make()
        try:
            with open(folder / f'{name}.part', 'wb') as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave an empty file under the name
        except OSError as error:
            raise PermissionError(f'{folder / name} can\'t be written: {error.strerror}') from None
        saved.append(name)


def commit(last=None):
    """Puts what save() wrote in place; the file called last, which makes an item done, at last."""
    for name in sorted(saved, key=lambda name: name == last):
        os.replace(folder / f'{name}.part', folder / name)
    saved.clear()


def download(url, kind):
    """Returns the bytes behind url if they are what kind says: one of SIGNS or a CSV's header."""
    response, body = http.request(url)
    if response.status == 401:
        raise PermissionError('401 Unauthorized')
    start, end = SIGNS.get(kind, (b'', b''))
    if not (body.startswith(start) and body.endswith(end) if start else
            body.split(b'\n')[0].strip() == kind.encode()):
        raise ConnectionError(f'the service sent something else than {kind}')
    return body


def late(*_):
    """Ends a request at the deadline; not by an OSError, which os.path.exists() takes for a no."""
    raise multiprocessing.TimeoutError


def send(uri, method='GET', body=None, headers=None, **_):
    """Makes every request of this script, ee's too: returns (httplib2.Response, bytes).

    Raises ConnectionError where another try may help, PermissionError where only the user can,
    and ee.EEException, with the service's words, where this request can never pass.
    """
    try:
        try:  # a second one: it may go off until alarm(0) is done
            alarm(math.ceil(deadline))
            answer = session.request(method, uri, data=body, headers=headers, timeout=deadline)
        finally:
            alarm(0)
    except (requests.RequestException, multiprocessing.TimeoutError) as error:
        # not its text, which may hold the URL, a secret
        raise ConnectionError(f'no complete answer ({type(error).__name__})') from None
    size = answer.raw.tell()  # of what came, before it was unzipped
    if int(answer.headers.get('Content-Length', size)) != size:  # urllib3 1 lets this pass
        raise ConnectionError('no complete answer')
    if answer.ok and ':get' not in uri and not re.fullmatch(  # download() looks at :getPixels, ...
            rb'\s*{(?!\s*"error").*}\s*', answer.content, re.S):
        raise ConnectionError('something else in place of an answer')
    if not answer.ok:
        try:
            text = str(answer.json()['error']['message'])
        except (ValueError, LookupError, TypeError):
            text = re.sub('(?is)<style.*?</style>|<.*?>', ' ', answer.text)[:300]
            text = f'{answer.status_code} {answer.reason} {text}'
        text = re.sub(r'(thumbnails|tables)/[\w-]+', r'\1/...', text)  # these ids are secrets too
        busy = answer.status_code in (408, 429, 500, 502, 503, 504) or re.search(
            'capacity exceeded|Too many concurrent|rateLimitExceeded', answer.text, re.I)
        if busy and not re.search('Computation timed out|memory limit exceeded', text):
            raise ConnectionError(text)
        if answer.status_code == 403:
            raise PermissionError(text)
        # google.auth deals with what is left, a 401 and the answers of the token's server
        if answer.status_code != 401 and uri.startswith(ee.data.HIGH_VOLUME_API_BASE_URL):
            raise ee.EEException(text)
    return httplib2.Response({**answer.headers, 'status': answer.status_code}), answer.content


def start():
    """Starts Earth Engine in this process, on the high-volume endpoint."""
    global credentials, http
    if hasattr(signal, 'SIGALRM'):
        signal.signal(signal.SIGALRM, late)
    socket.setdefaulttimeout(60)  # ee fetches its list of deprecated assets with no time limit
    ee.data.setMaxRetries(0)  # retry alone tries again
    credentials = credentials or ee.data.get_persistent_credentials()
    transport = types.SimpleNamespace(request=send)
    ee.Initialize(credentials, ee.data.HIGH_VOLUME_API_BASE_URL, project=PROJECT,
                  http_transport=transport)
    http = google_auth_httplib2.AuthorizedHttp(credentials, transport)


def begin(parents_credentials, parents_cwd):
    """Readies a worker process."""
    global credentials, deadline
    credentials, deadline = parents_credentials, DEADLINE
    os.chdir(parents_cwd)  # on a cluster workers start elsewhere
    parent = multiprocessing.parent_process()  # None on a cluster
    if parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all, the parent acts on it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        hold(False)
        # this process ends with its parent, even one that is killed
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    if not multiprocessing.current_process().name.endswith('-1'):  # a warning is enough once
        warnings.simplefilter('ignore')


def work(index, item):
    """Calls getResult() in a worker; if it fails, notes why in FAILED."""
    try:
        if not http:
            retry_call(start, **PATIENCE, logger=None)
        saved.clear()
        getResult(index, item)
        commit(last=item['file'])
    except (Exception, SystemExit) as error:
        later = isinstance(error, ConnectionError)
        fatal = (isinstance(error, (PermissionError, google.auth.exceptions.GoogleAuthError))
                 or getattr(error.__context__, 'status_code', None) == 401)  # ee has wrapped it
        try:
            for name in saved:
                os.remove(folder / f'{name}.part')
            with open(folder / FAILED, 'a', newline='', encoding='utf-8') as file:
                csv.writer(file).writerow(
                    ['' if fatal else item['file'], explain(error), 'later' if later else ''])
        except OSError as full:  # the disk, mostly; the parent sees that this process ends
            sys.exit(full.errno)


def explain(error):
    """Says in a line what went wrong, and where if it is a mistake in this file."""
    text = ' '.join(str(error).split()) or type(error).__name__
    if isinstance(error, (*REFUSALS, ConnectionError)):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    line = [frame.lineno for frame in frames if frame.filename == __file__][-1]
    return f'{type(error).__name__}: {text} ({os.path.basename(__file__)}, line {line})'


def look(items):
    """Returns the (index, item) left to fetch, and {file: (reason, later)} of all that lack."""
    with open(folder / FAILED, newline='', encoding='utf-8', errors='replace') as file:
        noted = {row[0]: row[1:] for row in csv.reader(file) if len(row) == 3}  # no half row
    check('' not in noted, noted.get('', [''])[0])
    there = set(os.listdir(folder))
    unknown = 'not saved: its process was killed, or getResult() has not called save()', 'later'
    lost = {item['file']: noted.get(item['file'], unknown)
            for item in items if item['file'] not in there}
    return [job for job in enumerate(items) if lost.get(job[1]['file'], ('', ''))[1]], lost


def get_items():
    """Returns the items that the folder was begun with if it has results, or else new ones."""
    there = set(os.listdir(folder))
    before, items = {}, []
    if STATE in there:
        before, items = json.loads((folder / STATE).read_text('utf-8'))
    if any(item['file'] in there for item in items):
        changed = sorted({name for name, _ in before.items() ^ SETTINGS.items()})
        check(not changed, f'{", ".join(changed)}: not what the results in {OUTPUT} were made '
                           'with. Change it back, or set OUTPUT to a new folder.')
        print(f'Going on with the {len(items)} items that {OUTPUT} was begun with.')
        return items
    retry_call(start, **PATIENCE)
    items = retry_call(getRequests, **PATIENCE)
    check(items, 'getRequests() found nothing to do.')
    names = {item['file'].casefold() for item in items} - {'', INDEX.casefold()}
    check(len(names) == len(items),
          f"getRequests(): each item needs a 'file' of its own, and none may be '' or '{INDEX}'.")
    check(STATE in there or not there & {item['file'] for item in items},
          f'{OUTPUT} has files of another origin: set OUTPUT to a new folder.')
    for name in there & {STATE, INDEX}:
        os.remove(folder / name)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(items[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(items)
    save(INDEX, table.getvalue().encode)
    save(STATE, json.dumps([SETTINGS, items], ensure_ascii=False).encode)
    commit(last=STATE)
    return items


def stop(number, frame):
    """Ends the run on Ctrl-C and SIGTERM."""
    signal.signal(number, signal.SIG_IGN)  # once is enough
    tqdm.write('Stopped. Run it again to go on from here.', file=sys.stderr)
    sys.exit(128 + number)


def hold(on):
    """Holds back Ctrl-C and SIGTERM, in new processes too until begin() (Windows can't)."""
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_BLOCK if on else signal.SIG_UNBLOCK,
                               [signal.SIGINT, signal.SIGTERM])


def fan_out(pool, waiting):
    """Has the workers work through what is waiting, in random order, one by one."""
    with contextlib.suppress(Exception):  # of a cluster that lost a worker; look() knows the rest
        pool.starmap(work, random.sample(waiting, len(waiting)), chunksize=1)


def run(items, waiting, processes):
    """Fans what is waiting out to the workers; returns False early if one of these is killed."""
    if not http:
        retry_call(start, **PATIENCE)
    session.close()  # or a forked worker would inherit its connections
    multiprocessing.Lock()  # or Pool would start a resource tracker, which lets go what is held
    hold(True)
    pool = Pool(min(processes, len(waiting)), begin, [credentials, os.getcwd()])
    workers = multiprocessing.active_children()  # none on a cluster
    signal.signal(signal.SIGTERM, stop)  # again: a cluster's Pool has set its own
    hold(False)
    terminal = sys.stderr.isatty()
    bar = tqdm(total=len(items), initial=len(items) - len(waiting), ascii=not terminal,
               file=sys.stderr if terminal else open(os.devnull, 'w'))
    fan = threading.Thread(target=fan_out, args=(pool, waiting), daemon=True)
    try:
        fan.start()
        for second in itertools.count():
            fan.join(1)
            ready = not fan.is_alive()  # before look(), so that it sees the last results
            waiting, lost = look(items)
            bar.update(len(items) - len(waiting) - bar.n)
            if not terminal and (ready or second % 30 == 0):
                print(bar, file=sys.stderr)
            codes = [worker.exitcode or 0 for worker in workers]  # negative for a signal
            check(max(codes, default=0) <= 0,
                  f'{OUTPUT} can\'t be written: {os.strerror(max(codes, default=0))}')
            final = [reason for reason, later in lost.values() if not later]
            check(len(final) < 25 or len(lost) < len(items),  # none is done; they are random ones
                  f'The first {len(final)} all failed, the last of them: {"".join(final[-1:])}')
            if ready or any(codes):
                return not any(codes)
    finally:
        bar.close()
        # a killed worker may have taken with it a lock that terminate() waits for
        ending = threading.Thread(target=pool.terminate, daemon=True)
        ending.start()
        ending.join(2)
        for worker in multiprocessing.active_children():
            worker.kill()


def main():
    """Gets the items, fetches what is missing, and tells how it went."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    check(type(PROCESSES) is int and PROCESSES > 0, 'PROCESSES must be a whole number above 0.')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / '.lock', timeout=0)
        lock.execute('BEGIN EXCLUSIVE')  # the system lifts it when this process ends, even killed
        for part in folder.glob('*.part'):
            part.unlink()
        (folder / FAILED).write_text('')
    except (OSError, sqlite3.Error) as error:
        locked = str(error) == 'database is locked'
        sys.exit(f'{OUTPUT}: another run is at work here.' if locked else
                 f'OUTPUT: {OUTPUT!r} is no folder that can be written to ({error}).')
    try:
        items = get_items()
        processes, before = PROCESSES, math.inf
        while processes and 0 < len(waiting := look(items)[0]) < before:  # as long as it helps
            before = len(waiting)
            if not run(items, waiting, processes):
                print('A worker process was killed, perhaps for lack of memory: going on with one '
                      'less.', file=sys.stderr)
                processes, before = processes - 1, math.inf
    except Exception as error:
        refused = not http and isinstance(error, REFUSALS)
        sys.exit(explain(error) + refused * ' (To sign in: earthengine authenticate. To name a '
                 'project: earthengine set_project ID, or PROJECT at the top of this file.)')
    lost = look(items)[1]
    print(f'{len(items) - len(lost)} of {len(items)} are in {OUTPUT}, listed in {INDEX}.')
    reasons = collections.Counter(reason for reason, _ in lost.values())
    for reason, count in reasons.most_common(20):
        names = [name for name in lost if lost[name][0] == reason][:3]
        print(f'{count} failed: {reason} ({", ".join(names)}{", ..." * (count > 3)})',
              file=sys.stderr)
    check(not lost, f'Run it again to try these again; {OUTPUT}/{FAILED} lists each failure.')


if __name__ == '__main__':  # a cluster imports this file by name, or it gets a copy with each item
    script = pathlib.Path(__file__).stem
    (main if Pool == multiprocessing.Pool else importlib.import_module(script).main)()
