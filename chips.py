"""Downloads thousands of small image chips from Google Earth Engine, many at a time.

    python chips.py              fetches all chips that are missing
    python chips.py --first 10   ten of them, for a look
    python chips.py --keep       goes on after a change of this file, with what has come

Around each place, one of your own (POINTS) or random ones in each ecoregion of REGION, it saves a
chip of SIZE x SIZE pixels, OUTPUT/chip_00000.png and so on, and lists them in OUTPUT/chips.csv.

For another dataset edit the constants at the top of this file, and getRequests() and
getResult() if they don't fit; nothing below them.
"""
# /// script
# requires-python = ">=3.11"
# dependencies = ["earthengine-api>=1.5.0", "filelock>=3.12", "pyproj>=3.4", "requests>=2.33.0",
#                 "retry>=0.9.2", "tqdm>=4.60", "urllib3>=2"]
# ///
import ast
import collections
import contextlib
import csv
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
import pyproj
import requests
from google.auth.exceptions import GoogleAuthError, TransportError
from retry import retry
from tqdm import tqdm

# run
PROJECT = None  # Cloud project id; None: the one set with `earthengine set_project`
PROCESSES = 25  # requests at a time; the quota of a project is 40 unless Google raised it
DEADLINE = 60  # seconds until a request is given up and tried again
PATIENCE = dict(exceptions=ConnectionError, tries=20,  # of an item before others have a turn:
                delay=0.1, backoff=1.6, jitter=(0, 0.5), max_delay=3)  # after 0.1 to 3 s, 50 in all
PAUSES = [1, 10, 60]  # minutes to wait after a round of all items in which none came

# output
OUTPUT = 'chips'  # folder, made if need be; other results need another one
INDEX = 'chips.csv'  # in OUTPUT: what each file shows
FORMAT = 'png'  # 'png', 'jpg': a picture of 1 or 3 bands; 'tif', 'npy': the values of all BANDS
SIZE = 256  # pixels, width and height of a chip
SCALE = 1  # metres a pixel

# places
POINTS = None  # CSV file of your own places with columns id, lon, lat (degrees), or None: random
REGION_TABLE = 'FAO/GAUL/2015/level1'  # non-commercial use only, see the README
REGION = {'ADM1_NAME': 'Colorado'}  # the features of REGION_TABLE with these properties
POINTS_PER_ECOREGION = 1000  # fewer where an ecoregion is too small, with a warning
SPACING = 100  # metres: random points are drawn from a lattice this wide, so none are nearer
SEED = 0  # another seed, other points

# images
COLLECTION = 'USDA/NAIP/DOQQ'
START = '2015-01-01'  # NAIP flies a state every 2 or 3 years; the newest image is on top
END = '2025-01-01'  # the day after the last
BANDS = ['R', 'G', 'B']  # images that lack one of these are left out
MIN = 0  # value shown black in a picture, or a list with one for each of BANDS
MAX = 255  # value shown white, or a list


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
    size = SIZE * SIZE * 2 * (3 if picture else len(BANDS)) >> 20  # a byte, and one for the mask
    check(size <= 48, f'SIZE: a chip would have {size} MB or more and Earth Engine sends at most '
                      '48, so lower SIZE or take fewer BANDS.')
    check(re.fullmatch(r'(\d{4}-\d\d-\d\d){2}', f'{START}{END}') and START < END,
          f"START must be a day before END, each like '2015-01-31', not {START!r} and {END!r}.")


def getRequests():
    """Returns a dict a chip: file, longitude, latitude (degrees, WGS84), what is known of the
    place, and crs."""
    check_constants()
    # if COLLECTION is wrong it is told here, once, and not by each chip
    ee.ImageCollection(COLLECTION).filterBounds(ee.Geometry.Point(0, 0)).size().getInfo()
    return own_places() if POINTS else random_places()


def own_places():
    """Returns a dict a row of POINTS: file (named after the id), id, longitude, latitude, its
    other columns as they are, crs."""
    try:
        with open(POINTS, newline='', encoding='utf-8-sig') as file:
            table = csv.DictReader(file)
            columns, rows = table.fieldnames or [], [(table.line_num, row) for row in table]
    except (OSError, UnicodeError, csv.Error) as error:
        sys.exit(f'POINTS: {POINTS} is no CSV file in UTF-8 ({error}).')
    taken = {'file', 'longitude', 'latitude', 'crs'}
    check({'id', 'lon', 'lat'} <= {*columns} and not taken & {*columns},
          f'POINTS: line 1 of {POINTS} has the columns {columns}, but needs id, lon and lat: in '
          'small letters, with no blanks, separated by commas, not semicolons. (None may be called '
          'file, longitude, latitude or crs.)')
    check(rows, f'POINTS: {POINTS} has no row below its header.')
    places = {}
    for line, row in rows:
        told = f'POINTS: line {line} of {POINTS}'
        check(None not in [*row, *row.values()], f'{told} has not as many values as the header, '
              f'but {[*row.values()]} (a decimal comma?).')
        number, longitude, latitude = row.pop('id'), row.pop('lon'), row.pop('lat')
        try:
            place = {'longitude': float(longitude), 'latitude': float(latitude)}
        except ValueError:
            sys.exit(f'{told}: lon {longitude!r}, lat {latitude!r} must be degrees like -105.24.')
        check(abs(place['longitude']) <= 180 and abs(place['latitude']) <= 90,
              f'{told}: lon {longitude} and lat {latitude} are no place on Earth (swapped?).')
        # what no file name should hold, or what Windows takes for a device
        name = re.sub(r'(?i)[^\w.-]|^(?=\.|$|(con|prn|aux|nul|com\d|lpt\d)(\.|$))', '_', number)
        check(name.casefold() not in places,
              f'{told}: the id {number!r} is that of another line, or gives the same file.')
        places[name.casefold()] = {'file': f'{name}.{FORMAT}', 'id': number, **place, **row,
                                   'crs': utm(**place)[0]}
    return [*places.values()]


def random_places():
    """Returns a dict a point: file, longitude, latitude, ECO_ID, ECO_NAME, crs."""
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
            warnings.warn(f'{names[eco_id]} has {count} points, not {POINTS_PER_ECOREGION}.')
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
    # the last is on top: developers.google.com/earth-engine/apidocs/ee-imagecollection-mosaic
    mosaic = whole.select(BANDS).sort('system:time_start').mosaic().select(BANDS)
    save_chip(point, mosaic, point['longitude'], point['latitude'])


def save_chip(item, image, longitude, latitude, width=SIZE, height=SIZE, scale=SCALE):
    """Saves so many pixels of an image around a place, north up in its UTM zone, on the grid of
    multiples of scale (metres), so that the place is at most half a pixel off the middle."""
    crs, easting, northing = utm(longitude, latitude)
    left, top = (round(side / scale) * scale
                 for side in (easting - width * scale / 2, northing + height * scale / 2))
    grid = {'crs': crs, 'dimensions': [width, height],  # with a crs_transform: exactly this box
            'crs_transform': [scale, 0, left, 0, -scale, top]}
    if FORMAT in ('png', 'jpg'):
        ask, options = image.getThumbURL, {'format': FORMAT, 'min': MIN, 'max': MAX}
    else:
        ask, options = image.getDownloadURL, {'format': {'tif': 'GEO_TIFF', 'npy': 'NPY'}[FORMAT]}
    try:
        save(item, lambda: download(ask({**grid, **options}), FORMAT))
    except ee.EEException as error:  # of select(): an image made of no images has no band at all
        if re.search(r'did not match any bands.*Available bands: \[\]', str(error), re.S):
            raise Nothing(f'no image with {", ".join(BANDS)} between {START} and {END}') from None
        raise


def utm(longitude, latitude, zone=None):
    """Returns (EPSG code, easting, northing), in metres, of a place in degrees in its UTM zone, or
    in the one with this number, so that all corners of a box can be in one."""
    zone = zone or int((longitude + 180) // 6) % 60 + 1
    crs = f'EPSG:{326 if latitude >= 0 else 327}{zone:02}'
    return crs, *projected(crs)(longitude, latitude)


@functools.cache
def projected(crs):
    """Returns the function that takes longitude and latitude, in degrees, to a crs."""
    return pyproj.Transformer.from_crs('EPSG:4326', crs, always_xy=True).transform


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
