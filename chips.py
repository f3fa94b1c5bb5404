"""Downloads thousands of small image chips from Google Earth Engine, many at a time.

    python chips.py

takes POINTS_PER_ECOREGION random points in each ecoregion of REGION and saves around each a
chip of SIZE x SIZE pixels: OUTPUT/chip_00000.png and so on, listed with their places in
OUTPUT/chips.csv. Run it again after a failure or an interruption: it fetches what is missing.

For another dataset edit the constants at the top of this file, and getRequests() and
getResult() if they don't fit; nothing below them.
"""
import argparse
import cmath
import collections
import contextlib
import csv
import io
import itertools
import json
import logging
import math
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
DEADLINE = 60  # seconds until a request is given up and tried again (getInfo(): 330)
PATIENCE = dict(exceptions=ConnectionError, tries=12,  # of an item, before others have a turn
                delay=2, backoff=2, max_delay=5, jitter=(0, 1))  # seconds between tries

# output
OUTPUT = 'chips'  # folder, made if need be; other results need another one
INDEX = 'chips.csv'  # in OUTPUT: what each file shows
FORMAT = 'png'  # 'png', 'jpg': a picture of 1 or 3 bands; 'tif', 'npy': the values of all BANDS
SIZE = 256  # pixels, width and height of a chip
SCALE = 1  # metres a pixel

# points
REGION_TABLE = 'FAO/GAUL/2015/level1'  # non-commercial use only, see the README
REGION = {'ADM1_NAME': 'Colorado'}  # the features of REGION_TABLE with these properties
POINTS_PER_ECOREGION = 1000  # fewer where an ecoregion is too small, with a warning
SPACING = 100  # metres between the points that there are to draw from; east to west it is less
SEED = 0  # another seed, other points

# images
COLLECTION = 'USDA/NAIP/DOQQ'
START = '2015-01-01'  # NAIP flies a state every 2 or 3 years; the newest image is on top
END = '2025-01-01'  # the day after the last
BANDS = ['R', 'G', 'B']  # images that lack one of these are left out
MIN = 0  # value shown black in a picture, or a list of one a band
MAX = 255  # value shown white


def check_constants():
    """Ends the run with a sentence if a constant can't be right."""
    picture = FORMAT in ('png', 'jpg')
    check(picture or FORMAT in ('tif', 'npy'), "FORMAT must be 'png', 'jpg', 'tif' or 'npy'.")
    check(type(REGION) is dict, "REGION must be a dict like {'ADM1_NAME': 'Colorado'}.")
    for name, value in ('SIZE', SIZE), ('POINTS_PER_ECOREGION', POINTS_PER_ECOREGION):
        check(type(value) is int and value > 0, f'{name} must be a whole number above 0.')
    for name, value in ('SCALE', SCALE), ('SPACING', SPACING):
        check(type(value) in (int, float) and value > 0, f'{name} must be a number above 0.')
    check(type(BANDS) is list and BANDS and all(type(band) is str for band in BANDS),
          "BANDS must be a list like ['R', 'G', 'B'].")
    check(len(BANDS) in (1, 3) or not picture,
          f"BANDS: {FORMAT} shows 1 or 3 bands; for others set FORMAT to 'tif' or 'npy'.")
    size = SIZE * SIZE * 2 * (3 if picture else len(BANDS))  # a byte at least, and one for the mask
    check(size <= 32 << 20, f'SIZE: a chip would have {size / (1 << 20):.0f} MB or more and Earth '
                            'Engine sends at most 32, so lower SIZE or take fewer BANDS.')
    check(re.fullmatch(r'(\d{4}-\d\d-\d\d){2}', f'{START}{END}') and START < END,
          f"START must be a day before END, each like '2015-01-31', not {START!r} and {END!r}.")


def getRequests():
    """Returns a dict a chip: file, longitude, latitude (degrees, WGS84), ECO_ID, ECO_NAME, crs."""
    check_constants()
    region = ee.FeatureCollection(REGION_TABLE)
    for name, value in REGION.items():
        region = region.filter(ee.Filter.eq(name, value))
    ecoregions = ee.FeatureCollection('RESOLVE/ECOREGIONS/2017').filterBounds(region.geometry())
    classes = ee.Image(-1).toInt().paint(ecoregions, 'ECO_ID').rename('ECO_ID')
    points = ee.Image.pixelLonLat().addBands(classes.updateMask(classes.gte(0))).stratifiedSample(
        numPoints=POINTS_PER_ECOREGION, classBand='ECO_ID', region=region.geometry(),
        scale=SPACING, projection='EPSG:4326', seed=SEED)
    points = points.reduceColumns(ee.Reducer.toList(3), ['ECO_ID', 'longitude', 'latitude'])
    names = ecoregions.reduceColumns(ee.Reducer.toList(2), ['ECO_ID', 'ECO_NAME'])
    points, names = ee.List([points.get('list'), names.get('list')]).getInfo()
    check(points, f'REGION: {REGION_TABLE} has no {REGION}, or no ecoregion has land in it.')

    names = {int(eco_id): name for eco_id, name in names}  # some ecoregions are several features
    for eco_id, count in collections.Counter(eco_id for eco_id, _, _ in points).items():
        if count < POINTS_PER_ECOREGION:
            print(f'Warning: {names[eco_id]} has {count} points, not {POINTS_PER_ECOREGION}.',
                  file=sys.stderr)
    return [{'file': f'chip_{index:05}.{FORMAT}', 'longitude': longitude, 'latitude': latitude,
             'ECO_ID': int(eco_id), 'ECO_NAME': names[eco_id], 'crs': utm(longitude, latitude)[0]}
            for index, (eco_id, longitude, latitude) in enumerate(sorted(points))]


@retry(**PATIENCE)
def getResult(index, point):
    """Saves the chip around a point, the newest image on top."""
    around = ee.Geometry.Point(point['longitude'], point['latitude']).buffer(SIZE * SCALE)
    images = (ee.ImageCollection(COLLECTION).filterDate(START, END).filterBounds(around)
              .map(lambda image: image.set('bands', image.bandNames())))
    whole = images.filter(ee.Filter.And(*[ee.Filter.listContains('bands', b) for b in BANDS]))
    # if none has all BANDS, select() on the others makes the service say which one is missing
    images = ee.ImageCollection(ee.Algorithms.If(whole.size(), whole, images)).select(BANDS)
    # the last is on top: developers.google.com/earth-engine/apidocs/ee-imagecollection-mosaic
    mosaic = images.sort('system:time_start').mosaic().select(BANDS)
    save_chip(point['file'], mosaic, point['longitude'], point['latitude'])


def save_chip(name, image, longitude, latitude):
    """Saves SIZE x SIZE pixels of an image, a place in their middle, north up in its UTM zone."""
    crs, easting, northing = utm(longitude, latitude)
    half = SIZE * SCALE / 2
    grid = {'crs': crs, 'dimensions': [SIZE, SIZE],  # with a crs_transform: exactly this square
            'crs_transform': [SCALE, 0, easting - half, 0, -SCALE, northing + half]}
    if FORMAT in ('png', 'jpg'):
        ask, options = image.getThumbURL, {'format': FORMAT, 'min': MIN, 'max': MAX}
    else:
        ask, options = image.getDownloadURL, {'format': {'tif': 'GEO_TIFF', 'npy': 'NPY'}[FORMAT]}
    save(name, lambda: download(ask({**grid, **options}), FORMAT))


def utm(longitude, latitude):
    """Returns (EPSG code of the UTM zone, easting, northing), in metres, of a place in degrees.

    Krueger's series, exact to a millimetre: C. Karney, 2011, doi.org/10.1007/s00190-011-0445-3.
    """
    zone = int((longitude + 180) // 6) % 60 + 1
    away = math.radians(longitude % 6 - 3)  # from the middle of the zone
    n, e = 1 / 595.514447, 0.0818191908  # third flattening and eccentricity of WGS84
    sine = math.sin(math.radians(latitude))
    t = math.sinh(math.atanh(sine) - e * math.atanh(e * sine))
    z = complex(math.atan2(t, math.cos(away)),
                math.asinh(math.sin(away) / math.hypot(t, math.cos(away))))
    series = n / 2 - 2 * n**2 / 3 + 5 * n**3 / 16, 13 * n**2 / 48 - 3 * n**3 / 5, 61 * n**3 / 240
    z += sum(term * cmath.sin(2 * k * z) for k, term in enumerate(series, 1))
    z *= 0.9996 * 6378137 / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    return (f'EPSG:{326 if latitude >= 0 else 327}{zone:02}', 500000 + z.imag,
            z.real + (0 if latitude >= 0 else 10000000))


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
