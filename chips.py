"""Downloads thousands of small image chips from Google Earth Engine, many at a time.

    python chips.py              fetches all chips that are missing
    python chips.py --first 10   fetches ten of them, for a look
    python chips.py --keep       goes on after a change of this file, and keeps what is there

Around each place, one of your own (POINTS) or random ones in each ecoregion of REGION, it saves
a chip of SIZE x SIZE pixels, OUTPUT/chip_00000.png and so on, and lists them in OUTPUT/chips.csv.

For another dataset edit the constants at the top of this file and, where they don't fit, the
functions below them, down to the line "# The machinery".
"""
# /// script
# requires-python = ">=3.11"
# dependencies = ["earthengine-api>=1.5.0", "filelock>=3.12", "pathvalidate>=3.2", "pyproj>=3.4",
#                 "requests>=2.33.0", "retry>=0.9.2", "tqdm>=4.60", "urllib3>=2"]
# ///
import pathlib
import sys
import traceback

program = pathlib.Path(__file__).read_text('utf-8-sig')  # at once, before it is edited


def tell_early(kind, error, trace):
    """Tells in one line what ends this file before main() is reached."""
    lines = [place.lineno for place in traceback.extract_tb(trace) if place.filename == __file__]
    place = f'{pathlib.Path(__file__).name}, line {lines[-1] if lines else "?"}'
    sentence = {
        'KeyboardInterrupt': 'Stopped.',
        'ModuleNotFoundError': f'{error}. Type pip install -r requirements.txt, or start it with '
                               'uv run.',
        'EEException': f'{place}: make Earth Engine objects inside functions, not as constants.'}
    print(sentence.get(kind.__name__, f'{place}: {kind.__name__}: {error}'), file=sys.stderr)


if __name__ == '__main__':
    sys.excepthook = tell_early

import ast
import collections
import contextlib
import csv
import datetime
import errno
import functools
import gc
import hashlib
import io
import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import stat
import threading
import time
import types
import unicodedata
import urllib.parse
import warnings
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from multiprocessing import Pool  # or ray.util.multiprocessing, for a cluster
from multiprocessing import resource_tracker

import ee
import filelock
import google.auth
import google.oauth2.credentials
import httplib2
import pathvalidate
import pyproj
import requests
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from retry import retry
from tqdm import tqdm

# run
PROJECT = None  # Cloud project id; None: the one set with `earthengine set_project`
PROCESSES = 25  # requests at a time; the quota of a project is 40 unless Google raised it
DEADLINE = 60  # seconds until a request is given up and tried again
PATIENCE = dict(  # 20 tries of an item, with 50 seconds or so of waiting, then others have a turn
    exceptions=ConnectionError, tries=20, delay=0.1, backoff=1.6, jitter=(0, 0.5), max_delay=3)
PAUSES = [1, 10, 60]  # minutes to wait after a round of all items in which none came

# output
OUTPUT = 'chips'  # folder, made if need be; other results need another one
INDEX = 'chips.csv'  # in OUTPUT: what each file shows
FORMAT = 'png'  # 'png', 'jpg': a picture of 1 or 3 bands; 'tif', 'npy': the values of all BANDS
SIZE = 256  # pixels, width and height of a chip
SCALE = 1  # metres a pixel

# places
POINTS = None  # table (CSV) of your own places: id, longitude, latitude; None: random places
REGION_TABLE = 'FAO/GAUL/2015/level1'  # non-commercial use only, see the README
REGION = {'ADM1_NAME': 'Colorado'}  # the features of REGION_TABLE with these properties
POINTS_PER_ECOREGION = 1000  # fewer where an ecoregion is too small, with a warning
SPACING = 100  # metres: random places are drawn from an equal-area lattice this wide
SEED = 0  # another seed, other places

# images
COLLECTION = 'USDA/NAIP/DOQQ'
START = '2015-01-01'  # NAIP flies a state every 2 or 3 years; the newest image is on top
END = '2025-01-01'  # the day after the last
BANDS = ['R', 'G', 'B']  # images that lack one of these are left out
MIN = 0  # value shown black in a picture, or a list with one for each of BANDS
MAX = 255  # value shown white, or a list


def check_constants():
    """Ends the run with a sentence if a constant can't be right, before anything is asked
    for."""
    saved_by = getattr(getResult, '__wrapped__', getResult).__code__.co_names
    # without save_chip() getResult() may save anything
    check(FORMAT in ('png', 'jpg', 'tif', 'npy') or 'save_chip' not in saved_by,
          f"FORMAT must be 'png', 'jpg', 'tif' or 'npy', not {FORMAT!r}.")
    check(type(REGION) is dict,
          f"REGION must be a dict like {{'ADM1_NAME': 'Colorado'}}, not {REGION!r}.")
    for name, value in ('SIZE', SIZE), ('POINTS_PER_ECOREGION', POINTS_PER_ECOREGION):
        check(type(value) is int and value > 0,
              f'{name} must be a whole number above 0, not {value!r}.')
    for name, value in ('SCALE', SCALE), ('SPACING', SPACING):
        check(type(value) in (int, float) and 0 < value < float('inf'),
              f'{name} must be a number above 0, not {value!r}.')
    check(type(BANDS) is list and BANDS and all(type(band) is str for band in BANDS),
          f"BANDS must be a list like ['R', 'G', 'B'], not {BANDS!r}.")
    check(date('START', START) < date('END', END),
          f'START must be earlier than END, but {START} is not earlier than {END}.')

    picture = FORMAT in ('png', 'jpg')
    check(len(BANDS) in (1, 3) or not picture,
          f"BANDS: a {FORMAT} shows 1 or 3 bands, not {len(BANDS)}; for others set FORMAT to 'tif' "
          "or 'npy'.")
    for name, value in ('MIN', MIN), ('MAX', MAX):
        values = value if type(value) is list else [value]
        check(len(values) in (1, len(BANDS)) and all(type(one) in (int, float) for one in values),
              f'{name} must be a number, or a list with one for each of {BANDS}, not {value!r}.')
    bands = 3 if picture else len(BANDS)
    size = SIZE * SIZE * 2 * bands >> 20  # a byte for the value, and one for the mask
    check(size <= 48, f'SIZE: a chip of {SIZE} x {SIZE} pixels would have {size} MB or more, and '
                      'Earth Engine sends at most 48: lower SIZE or take fewer BANDS.')
    if POINTS:
        say(read_places(POINTS)[1])


def date(name, text):
    """Returns the datetime.date of a constant like '2015-01-31'."""
    with contextlib.suppress(TypeError, ValueError):
        day = datetime.date.fromisoformat(text)
        if str(day) == text:  # Python also takes 20150131 and 2015-W05-6
            return day
    sys.exit(f"{name} must be a day like '2015-01-31', not {text!r}.")


def getRequests():
    """Returns a dict a chip: file, longitude, latitude (degrees, WGS84), what is known of
    the place, and crs."""
    # if COLLECTION is wrong it is told here, once, and not by each chip
    ee.ImageCollection(COLLECTION).filterBounds(ee.Geometry.Point(0, 0)).size().getInfo()
    return own_places() if POINTS else random_places()


def own_places():
    """Returns a dict a row of POINTS: file (named after the id), id, longitude, latitude,
    its other columns as they are, crs."""
    return [{'file': file_name(place['id'], FORMAT), **place,
             'crs': utm(place['longitude'], place['latitude'])[0]}
            for place in read_places(POINTS)[0]]


def random_places():
    """Returns a dict a place: file, longitude, latitude, ECO_ID, ECO_NAME, crs."""
    region = ee.FeatureCollection(REGION_TABLE)
    for name, value in REGION.items():
        region = region.filter(ee.Filter.eq(name, value))
    check(region.size().getInfo(), f'REGION: {REGION_TABLE} has no {REGION}.')
    region = region.geometry()
    ecoregions = ee.FeatureCollection('RESOLVE/ECOREGIONS/2017').filterBounds(region)
    classes = ee.Image(-1).toInt().paint(ecoregions, 'ECO_ID').rename('ECO_ID')
    points = ee.Image.pixelLonLat().addBands(classes.updateMask(classes.gte(0))).stratifiedSample(
        numPoints=POINTS_PER_ECOREGION, classBand='ECO_ID', region=region, scale=SPACING,
        projection=equal_area(region), seed=SEED)
    points = points.reduceColumns(ee.Reducer.toList(3), ['ECO_ID', 'longitude', 'latitude'])
    names = ecoregions.reduceColumns(ee.Reducer.toList(2), ['ECO_ID', 'ECO_NAME'])
    points, names = ee.List([points.get('list'), names.get('list')]).getInfo()
    check(points, f'REGION: no ecoregion has land in {REGION}.')

    names = {int(eco_id): name for eco_id, name in names}  # some ecoregions are several features
    for eco_id, count in collections.Counter(eco_id for eco_id, _, _ in points).items():
        if count < POINTS_PER_ECOREGION:
            warnings.warn(f'{names[eco_id]} has {count} points, not {POINTS_PER_ECOREGION}.')
    return [{'file': f'chip_{index:05}.{FORMAT}', 'longitude': longitude, 'latitude': latitude,
             'ECO_ID': int(eco_id), 'ECO_NAME': names[eco_id], 'crs': utm(longitude, latitude)[0]}
            for index, (eco_id, longitude, latitude) in enumerate(sorted(points))]


def equal_area(region):
    """Returns an equal-area projection, as WKT, around the middle of a region: distances
    are true to 1 % within 1,700 km of it."""
    longitude, latitude = region.centroid(1000).coordinates().getInfo()
    lattice = pyproj.CRS(f'+proj=laea +lon_0={longitude:.1f} +lat_0={latitude:.1f}')
    return lattice.to_wkt('WKT1_GDAL')  # ee.Projection takes an EPSG code or WKT, says its page


@retry(**PATIENCE)
def getResult(index, point):
    """Saves the chip around a point, the newest image on top."""
    # a circle, in metres, that holds the corners of the chip, 0.71 of its side away
    around = ee.Geometry.Point(point['longitude'], point['latitude']).buffer(SIZE * SCALE * 0.75)
    images = (ee.ImageCollection(COLLECTION).filterDate(START, END).filterBounds(around)
              .map(lambda image: image.set('bands', image.bandNames())))
    has_bands = ee.Filter.And(*[ee.Filter.listContains('bands', band) for band in BANDS])
    # the last is on top:
    # developers.google.com/earth-engine/apidocs/ee-imagecollection-mosaic
    mosaic = images.filter(has_bands).select(BANDS).sort('system:time_start').mosaic()
    mosaic = mosaic.select(BANDS)  # again, as on a mosaic of no images this is refused
    save_chip(point, mosaic, point['longitude'], point['latitude'],
              nothing=f'no image with {", ".join(BANDS)} between {START} and {END}')


def save_chip(item, image, longitude, latitude, width=None, height=None, scale=None,
              nothing=None):
    """Saves width x height pixels of scale metres of an image around a place, on its grid():
    by default SIZE x SIZE pixels of SCALE. Where the image was made of no images the item has
    nothing, and the text `nothing` is the reason."""
    options = grid(longitude, latitude, width or SIZE, height or SIZE, scale or SCALE)
    if FORMAT in ('png', 'jpg'):
        ask, options = image.getThumbURL, {**options, 'format': FORMAT, 'min': MIN, 'max': MAX}
    elif FORMAT in ('tif', 'npy'):
        kind = {'tif': 'GEO_TIFF', 'npy': 'NPY'}[FORMAT]
        ask, options = image.getDownloadURL, {**options, 'format': kind}
    else:
        sys.exit(f"FORMAT: save_chip() makes 'png', 'jpg', 'tif' or 'npy', no {FORMAT!r}.")
    try:
        save(item, lambda: download(ask(options), FORMAT))
    except TooMuch as error:
        sys.exit(f'{error} Lower SIZE, or take fewer images or a larger SCALE.')
    except ee.EEException as error:
        if any(words in str(error) for words in no_bands_words):
            raise Nothing(nothing or f'no image with {", ".join(BANDS)}') from None
        raise


def grid(longitude, latitude, width, height, scale):
    """Returns what getDownloadURL() takes for width x height pixels around a place: north up
    in its UTM zone, on the grid of multiples of scale (metres), the place at most half a pixel
    off the middle."""
    crs, easting, northing = utm(longitude, latitude)
    left = round((easting - width * scale / 2) / scale) * scale
    top = round((northing + height * scale / 2) / scale) * scale
    return {'crs': crs, 'dimensions': [width, height],  # with a crs_transform: exactly this box
            'crs_transform': [scale, 0, left, 0, -scale, top]}


def utm(longitude, latitude, crs=None):
    """Returns (crs, easting, northing), in metres, of a place in degrees in its UTM zone,
    or in that of another place, whose crs this is."""
    zone = int((longitude + 180) // 6) % 60 + 1
    crs = crs or f'EPSG:{326 if latitude >= 0 else 327}{zone:02}'
    return crs, *projected(crs)(longitude, latitude)


@functools.cache
def projected(crs):
    """Returns the function that takes longitude and latitude, in degrees, to a crs."""
    return pyproj.Transformer.from_crs('EPSG:4326', crs, always_xy=True).transform


def hint():
    """Returns what to look at if no place at all had an image."""
    bands = ee.ImageCollection(COLLECTION).first().bandNames().getInfo()
    return (f'The first image of {COLLECTION} has the bands {", ".join(bands)}. Is one of '
            f'{", ".join(BANDS)} misspelt? Are the places and the dates right?')


# Reading a table of places

POINT_COLUMNS = {  # what a column may be called, in any case
    'id': ['id', 'name', 'site'],
    'latitude': ['lat', 'latitude', 'y'],
    'longitude': ['lon', 'lng', 'long', 'longitude', 'x']}
SEPARATORS = {',': 'commas', ';': 'semicolons', '\t': 'tabs'}


def read_places(name):
    """Returns the places of a CSV file, a dict a row: id, longitude, latitude, its other
    columns as they are; and how_read() it was."""
    text, encoding = read_text(name)
    separator = find_separator(text)
    try:
        rows = [*split_rows(text, separator)]
    except csv.Error as error:
        sys.exit(f'POINTS: {name}, {error}.')
    check(rows, f'POINTS: {name} is empty.')
    line, header = rows.pop(0)
    columns = find_columns(header, f'POINTS: line {line} of {name}')
    check(rows, f'POINTS: {name} has no row below its header.')

    renamed = {column: key for key, column in columns.items()}
    places, taken, wrong, commas = [], {}, [], False
    for line, values in rows:
        try:
            if len(values) != len(header):
                raise ValueError(f'not {len(header)} values, as the header, but {len(values)}'
                                 f'{" (a decimal comma?)" * (separator == ",")}')
            # an index of pandas has no name, nor have columns that Excel adds: they are
            # left out
            row = {renamed.get(column, column): value
                   for column, value in zip(header, values) if column}
            place = read_place(row, separator != ',')
            file = file_name(place['id'], FORMAT).casefold()  # a.png is A.png on Windows
            first, its_id = taken.setdefault(file, (line, place['id']))
            if first != line:
                same = 'is that' if its_id == place['id'] else 'gives the file'
                raise ValueError(f'the id {place["id"]!r:.25} {same} of line {first}, too')
            places.append(place)
            commas |= ',' in row['latitude'] + row['longitude']
        except ValueError as error:
            wrong.append(f'line {line}: {error}')
    more = [f'... and {len(wrong) - 10} more'] * (len(wrong) > 10)
    check(not wrong, f'POINTS: {name} has mistakes:\n' + ';\n'.join(wrong[:10] + more) + '.')

    return places, how_read(name, len(places), columns, separator, commas, encoding)


def how_read(name, count, columns, separator, commas, encoding):
    """Returns a sentence that says how a table was read."""
    named = [column if column.casefold() == key else f'{column} as {key}'
             for key, column in columns.items()]
    parts = [f'{name}: {count} place{"s" * (count > 1)}', f'columns {", ".join(named)}']
    if separator != ',':
        parts.append(f'separated by {SEPARATORS[separator]}')
    if commas:
        parts.append('decimal commas')
    if encoding != 'utf-8-sig':
        parts.append(f'encoded in {encoding}')
    return ', '.join(parts)


def read_text(name):
    """Returns (text, encoding) of a file as Excel and others write it."""
    path = pathlib.Path(name).absolute()
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        sys.exit(f'POINTS: there is no {path.name} in {path.parent}.')
    except OSError as error:
        sys.exit(f'POINTS: {name} cannot be read: {error.strerror}.')
    marked = body.startswith((b'\xff\xfe', b'\xfe\xff'))
    for encoding in ['UTF-16'] if marked else ['utf-8-sig', 'cp1252']:
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError:
            continue
        if '\0' not in text:
            # csv skips blanks before a quoted value, but takes those behind it for a
            # mistake
            return re.sub('" +(?=[,;\t\r\n]|$)', '"', text), encoding
    sys.exit(f'POINTS: {name} holds bytes that are no text: save it as "CSV UTF-8".')


def find_separator(text):
    """Returns the separator by which the header has the most columns with a known name, or
    then the most of any name."""
    known = {*sum(POINT_COLUMNS.values(), [])}

    def count(separator):
        # not strict and only the beginning, as by a wrong separator quotes may not match
        _, header = next(split_rows(text[:10000], separator, strict=False), (1, []))
        return len(known & {column.casefold() for column in header}), len(header)
    return max(SEPARATORS, key=count)


def split_rows(text, separator, strict=True):
    """Yields (number of its first line, values) of each row that isn't blank."""
    # if not strict, a quote with no end swallows all rows up to the next quote
    table = csv.reader(io.StringIO(text, newline=''), delimiter=separator,
                       skipinitialspace=True, strict=strict)
    line = 1
    try:
        for values in table:
            values = [value.strip() for value in values]
            if ''.join(values).strip(''.join(SEPARATORS)):  # Excel writes lines of them alone
                yield line, values
            line = table.line_num + 1  # a quoted value may have several lines
    except csv.Error as error:
        raise csv.Error(f"line {line}: its quotes don't match ({error})") from None


def find_columns(header, where):
    """Returns {'id': column, 'latitude': column, 'longitude': column} of a header."""
    found = {key: [column for alias in aliases
                   for column in header if column.casefold() == alias]
             for key, aliases in POINT_COLUMNS.items()}
    missing = [f'{key} ({", ".join(aliases)})' for key, aliases in POINT_COLUMNS.items()
               if not found[key]]
    check(not missing, f'{where} has the columns {header!s:.300}, separated by commas, semicolons '
                       f'or tabs, but none for {" and ".join(missing)}.')
    for key in 'latitude', 'longitude':
        check(len(found[key]) == 1, f'{where} has more than one column for the {key}, '
                                    f'{" and ".join(found[key])}: keep one, and rename the others.')
    for column, count in collections.Counter(map(str.casefold, filter(None, header))).items():
        check(count == 1, f'{where} has {count} columns called {column!r:.40}: rename one.')
        check(column not in ('file', 'crs'),
              f'{where} has a column {column!r}, which the list of chips has, too: rename it.')
    return {key: columns[0] for key, columns in found.items()}


def read_place(row, decimal_comma):
    """Returns the place of a row, {column: text}, or raises ValueError with what is
    wrong."""
    if not row['id']:
        raise ValueError('the id is empty')
    place = {'id': row['id']}
    for key, most in ('longitude', 180), ('latitude', 90):
        text = row[key].replace(',', '.') if decimal_comma else row[key]
        shown = f'{key} {row[key]!r:.25}'
        # float() also takes nan, inf and 1_000
        if not re.fullmatch(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?', text, re.IGNORECASE):
            raise ValueError(f'{shown} is no number of degrees like -105.24')
        place[key] = float(text)
        if key == 'longitude' and 180 < place[key] <= 360:
            raise ValueError(f'{shown} is above 180: subtract 360')
        if abs(place[key]) > most:
            raise ValueError(f'{shown} is outside of -{most}..{most} degrees (swapped?)')
    return {**place, **{key: value for key, value in row.items() if key not in place}}


def file_name(identifier, kind):
    """Returns the name of a chip's file, after its id, that is fit for every system."""
    name = unicodedata.normalize('NFC', identifier)  # macOS takes both ways to write ñ for the same
    name = pathvalidate.sanitize_filename(re.sub(r'\s|^(?=\.|$)', '_', name),
                                          replacement_text='_', platform='universal')
    return name.encode()[:190].decode(errors='ignore') + f'.{kind}'


# The machinery, the same text in chips.py and timeseries.py: nothing below depends on the dataset.
#
# This process has getRequests() make the list of items, and keeps it in OUTPUT/.list.json for
# later runs. A pool of workers calls getResult() for each item; a file gets its name only when
# it is whole. What becomes of an item is a row of OUTPUT/log.csv and told nowhere else: this
# process reads the rows, to move the bar and to see what has to be tried again, in further
# rounds. So a run can be killed at any moment and begun again.

this_file = __file__
script_name = pathlib.Path(this_file).name.removeprefix('.')  # that of frozen_script() begins so
user_part = program.split('\n# The machinery')[0]
folder = pathlib.Path(OUTPUT)
list_file = folder / '.list.json'
log_file = folder / 'log.csv'
items = {}  # {file: item}, the whole list
tqdm.monitor_interval = 0  # or its thread would run while processes are forked


# What is told

class Nothing(Exception):
    """For getResult() to raise where there is nothing to save: Nothing('no image in
    July')."""


def check(fine, sentence):
    """Ends the run, in a worker the item, with a sentence for the user if it isn't fine."""
    if not fine:
        sys.exit(sentence)


def say(sentence):
    """Prints a line above the bar, if it can be printed."""
    with contextlib.suppress(Exception):
        tqdm.write(sentence, sys.stderr)


secrets = re.compile(  # ids of results, tokens, passwords of proxies
    r'(?i)(thumbnails|tables|maps)(/|%2F)[0-9a-f]{8}[\w-]*|ya29\.[\w.-]+|1//[\w-]{9,}|Bearer \S+'
    r'|authorization["\']?\s*[=:]\s*["\']?(\w+ )?[^&\s"\']+'
    r'|(access_token|refresh_token|client_secret|assertion|subject_token)'
    r'["\']?\s*[=:]\s*["\']?[^&\s"\']+|(?<=://)[^/\s@]+(?=@)')


def explain(error):
    """Returns an error in one line of some 1,000 characters at most, with no secret; a
    mistake above the machinery comes with its line."""
    text, place = str(error), ''
    if isinstance(error, GoogleAuthError):
        text = f'{error.args[0] if error.args else ""} (sign in anew: earthengine authenticate)'
    elif isinstance(error, BaseException) and not isinstance(
            error, (OSError, SystemExit, Nothing, ee.EEException)):
        text = f'{type(error).__name__}: {text}'
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == this_file and frame.lineno <= user_part.count('\n'):
                place = f' ({script_name}, line {frame.lineno})'
    if isinstance(error, BaseException) and not text.strip():
        text = type(error).__name__
    text = ''.join(letter if letter.isprintable() else ' ' for letter in text)
    return secrets.sub('...', ' '.join(text.split()))[:900] + place


def shorten(text, width=60):
    """Returns a text with its middle left out, as its end may tell most."""
    half = width // 2 - 2
    return text if len(text) <= width else f'{text[:half]}...{text[-half:]}'


def listed(names):
    """Returns the first three of some names as text."""
    return ', '.join([*names[:3], *['...'] * (len(names) > 3)])


# Files

def is_there(file):
    """Tells whether the file of an item is in the folder."""
    with contextlib.suppress(OSError, ValueError):
        found = os.stat(folder / file)
        return stat.S_ISREG(found.st_mode) and found.st_size > 0
    return False


def save(item, make):
    """Writes what make() returns, bytes, to the file of the item in work, if it isn't
    there."""
    if item['file'] != current.file:
        raise ValueError(f'save() takes the item that getResult() got, whose file is '
                         f'{current.file!r}, not {item["file"]!r}')
    if is_there(current.file):
        return
    body = make()
    if not isinstance(body, (bytes, bytearray)):
        raise ValueError(f'save() writes bytes, and make() returned a {type(body).__name__}')
    if not body:
        raise ValueError('save() writes bytes, and make() returned none')
    write(folder / current.file, body)


@retry(PermissionError, tries=7, delay=0.1, backoff=2, logger=None)  # Windows: a scanner has it
def write(path, body):
    """Writes a file, whole or not at all."""
    check(not path.is_dir(), f'{path} is a folder, and a file is to be there: move it away.')
    part = path.with_name(f'.part-{os.getpid()}-{path.name}')
    with open(part, 'wb') as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave an empty file under the name
    end_if_orphaned()
    os.replace(part, path)


def end_if_orphaned():
    """Ends a worker whose parent has ended, as another run may be at work in the folder."""
    parent = multiprocessing.parent_process()
    if parent and not parent.is_alive():
        os._exit(1)


# The service

class TooMuch(ee.EEException):
    """The service says that a request is too large for it: a smaller one may come."""


class MayBeTooMuch(ConnectionError):
    """It refuses a request, for the third time in a row, in words that may mean this."""


class Late(BaseException):
    """The time is over. No Exception, as code on the way might take that for one of its
    own."""


class Current:
    """What this process has in work."""
    edited = False  # whether this worker has read another text of the script than its parent

    def __init__(self):
        self.begin('')

    def begin(self, file):
        """Begins with an item, whose file this is, or ('') with none."""
        self.file = file
        self.kept = {}  # {request: answer}, all that has come for it
        self.refusals = collections.Counter()  # {request: how many in a row may mean too much}
        self.too_large = set()  # requests that were found to be
        self.renewed = set()  # requests for an id that had to be made anew

    def progress(self):
        """Returns how much of the item has come, or was found to be too large for a
        request."""
        return sum(':get' in uri for uri, _ in self.kept) + len(self.too_large)


current = Current()
session = requests.Session()  # the connections of this process
session.auth = lambda request: request  # or ~/.netrc might replace our token

kinds = {  # of results: first and last bytes
    'png': (b'\x89PNG', b'IEND\xaeB`\x82'),
    'jpg': (b'\xff\xd8\xff', b'\xff\xd9'),
    'tif': ((b'II*\0', b'MM\0*'), b''),
    'npy': (b'\x93NUMPY', b''),
    'zip': (b'PK\3\4', b''),
    'geojson': (b'{', b'}'),
    'kml': (b'<', b'</kml>')}
due = {  # what the JSON of an answer must have, by the end of the address
    'token': 'access_token', 'rest': 'resources', 'algorithms': 'algorithms',
    'thumbnails': 'name', 'tables': 'name', 'value:compute': 'result'}
most_bytes = 256 << 20  # five times what the service sends

# Words of the service that decide; tests/standin/sentences.py has the source of each.
too_much_words = 'Computation timed out', 'memory limit exceeded', 'over 5000 elements'
overload_statuses = 500, 503, 504  # of the service as a whole, or by one request
may_be_too_much_word = 'Too many concurrent aggregations'
no_bands_words = (  # of an image that was made of no images, also in older words
    'applied to an Image with no bands', 'image with no bands', 'Available bands: []')
missing_word = 'does not exist'  # of an asset
busy_words = ('capacity exceeded', 'Too many concurrent', 'rateLimitExceeded',
              'userRateLimitExceeded', 'RATE_LIMIT_EXCEEDED')


def download(url, kind):
    """Returns the bytes behind a URL if they are whole and of a kind: the name of one of
    kinds, a CSV's list of columns or its header ('date,value'), or a pair of first and last
    bytes."""
    if not str(url).startswith('https://'):
        raise ValueError(f'download() takes a URL first, not {url!r}')
    columns = columns_of(kind)
    body = send(url, headers={'Accept-Encoding': 'identity'})[1]
    if columns and not body.strip():
        body = empty_table(url, columns)
    if columns:
        whole = header_of(body) == columns
    else:
        whole = has_ends(body, *kinds.get(kind, kind))
    if whole:
        return body
    current.kept.pop((url, None), None)
    # what is whole, but of another kind, is a mistake in the script; all else may come
    # right
    other = len(header_of(body)) > 1 or any(
        has_ends(body, *ends) for name, ends in kinds.items() if name != 'geojson')
    raise (ee.EEException if other else ConnectionError)(
        f'download() was to get {kind!r} and got {body[:100]!r:.100}')


def columns_of(kind):
    """Returns the columns of a kind that is a CSV, else None; raises ValueError if it is
    none."""
    if isinstance(kind, list):
        return kind
    if isinstance(kind, str) and ',' in kind:
        return next(csv.reader([kind]))
    is_pair = isinstance(kind, tuple) and [type(end) for end in kind] == [bytes, bytes]
    if is_pair or isinstance(kind, str) and kind in kinds:
        return None
    raise ValueError(f'download() knows no {kind!r}, but {", ".join(map(repr, kinds))}, a list of '
                     'the columns of a CSV, and a pair of first and last bytes')


def has_ends(body, first, last):
    """Tells whether a body begins and ends with some bytes, white space at its end
    aside."""
    return body.startswith(first) and (
        body.endswith(last) or body[-100:].rstrip().endswith(last))


def header_of(body):
    """Returns the columns in the first line of a CSV; of a page or JSON none."""
    text = body[:100_000].decode('utf-8-sig', 'replace')
    if text.startswith(('<', '{', '[')):
        return []
    with contextlib.suppress(csv.Error):
        return next(csv.reader(text.splitlines()), [])
    return []


def empty_table(url, columns):
    """Returns the header alone of a CSV that came without a byte, three times: no source
    says whether the service sends such a thing for a table without rows."""
    request = url, None
    current.refusals[request] += 1
    current.kept.pop(request, None)
    if current.refusals[request] < 3:
        raise ConnectionError('a table came without a byte')
    note('warning', 'a table came without a byte three times, and is taken to have no rows')
    line = io.StringIO()
    csv.writer(line, lineterminator='\n').writerow(columns)
    return line.getvalue().encode()


def send(uri, method='GET', body=None, headers=None, **_):
    """Makes every request of this script, ee's too, and keeps what comes for the item in
    work, so that nothing is asked for twice. Returns (httplib2.Response, bytes).

    Raises ConnectionError where another try may help, MayBeTooMuch and TimeoutError where
    three in a row were of no use, TooMuch and other ee.EEException where none can be."""
    request = uri, body
    if request in current.kept:
        return current.kept[request]
    with contextlib.suppress(OSError):
        os.utime(log_file)  # a sign of life, which run() looks for
    try:
        answer, content = exchange(uri, method, body, headers)
        judge(uri, answer, content)
    except (MayBeTooMuch, TimeoutError) as refusal:
        current.refusals[request] += 1
        if current.refusals[request] < 3:
            raise ConnectionError(*refusal.args) from None
        raise
    except ConnectionError:
        current.refusals[request] = 0
        raise
    result = httplib2.Response({**answer.headers, 'status': answer.status_code}), content
    if answer.ok and '/projects/' in uri:
        current.kept[request] = result
    return result


def exchange(uri, method, body, headers):
    """Sends a request and returns (requests.Response, bytes), whatever they are."""
    limit = DEADLINE if current.file else max(330, DEADLINE)  # the list may take 300 s
    host = urllib.parse.urlsplit(uri).hostname
    try:
        with time_limit(limit), session.request(
                method, uri, data=body, headers=headers, timeout=(20, limit), stream=True,
                allow_redirects=method == 'GET') as answer:  # else a token might go elsewhere
            return answer, read_all(answer)
    except Late:
        stop_timer()  # it may have rung in the very moment in which it was stopped
        cause = None
    except Exception as error:  # whatever they may be: requests has some, http, ssl and codecs more
        cause = innermost(error)
    if cause is None or 'Read timed out' in cause:
        raise TimeoutError(f'no answer within {limit} seconds' + ' (DEADLINE)' * bool(current.file))
    raise ConnectionError(f'no connection to {host}, or it broke off: {cause}')


def read_all(answer):
    """Returns the body of an answer, but gives up one that goes on and on."""
    content = bytearray()
    for part in answer.iter_content(1 << 20):
        content += part
        if len(content) > most_bytes:
            raise ValueError(f'a body of more than {most_bytes >> 20} MB')
    return bytes(content)


def innermost(error):
    """Returns the words of the error that lies within those around it."""
    causes = [getattr(error, 'reason', None), *error.args]
    inner = [cause for cause in causes if isinstance(cause, BaseException)]
    return innermost(inner[0]) if inner else str(error) or type(error).__name__


def judge(uri, answer, content):
    """Raises what an answer stands for, unless it is what was asked for, or is for
    google.auth."""
    address = urllib.parse.urlsplit(uri)
    host, end = address.hostname, address.path.rpartition('/')[2]
    status = f'{answer.status_code} {answer.reason}'
    start = content[:100]
    strange = ConnectionError(f'{host} sent what makes no sense: {status}, {start!r:.100}')
    if not host.endswith('.googleapis.com'):
        return  # such as a company's own sign-in, which may answer in any way
    if not answer.url.startswith('https:'):
        raise strange
    if ':get' in end and answer.ok and not re.match(rb'\s*{\s*"error"', content):
        if not any(name in answer.headers for name in ('Content-Length', 'Transfer-Encoding')):
            raise ConnectionError(f'{host} did not say where its answer ends: {status}')
        return
    try:
        parsed = json.loads(content)
        error = parsed.get('error')
    except (ValueError, AttributeError):  # a page or a list, or it was cut off
        if answer.status_code in overload_statuses:
            raise MayBeTooMuch(status) from None
        if ':get' in end and 400 <= answer.status_code < 500 and not content.startswith(b'{'):
            text = re.sub('<[^>]*>', ' ', content.decode('utf-8', 'replace'))
            text = explain(text) or status
            raise error_for(uri, answer.status_code, text, content) from None
        raise strange from None
    if answer.ok and error is None:
        if end in due and due[end] not in parsed:
            raise strange
    elif answer.status_code == 401 and ':get' not in end:
        pass  # start_ee() deals with it
    elif isinstance(error, str) and answer.status_code in (400, 403):
        pass  # a sign-in that is refused, with which google.auth deals
    else:
        error = error if isinstance(error, dict) else {}
        text = explain(error.get('message') or f'{status}, {start!r:.100}')
        code = error.get('code')
        raise error_for(uri, code if type(code) is int else answer.status_code, text, content)


def error_for(uri, code, text, content):
    """Returns the exception for an error of the service, from its code, text and whole
    content."""
    words = content.decode('utf-8', 'replace')
    if any(sign in text for sign in too_much_words):
        return TooMuch(text)
    if code in overload_statuses or may_be_too_much_word in text:
        return MayBeTooMuch(text)
    if code in (408, 409, 429, 499) or code > 500 or any(sign in words for sign in busy_words):
        return ConnectionError(text)
    if ':get' in uri and not any(sign in text for sign in (missing_word, *no_bands_words)):
        first = forget_create(uri)
        # a URL needs no sign-in, says REST: by these codes its id has expired, by others it may
        if first or code in (401, 403, 404, 410):
            return ConnectionError(text)
    return ee.EEException(text)


def forget_create(url):
    """Forgets the answer to the request that gave this URL, so that it is made anew; tells
    whether this is so for the first time."""
    name = urllib.parse.urlsplit(url).path.removeprefix('/v1/').partition(':')[0].encode()
    for request, (_, content) in [*current.kept.items()]:
        if name in content:
            del current.kept[request]
            first = request not in current.renewed
            current.renewed.add(request)
            return first
    return False


def service_answers():
    """Tells whether the service answers a small question, in the middle of refusals."""
    try:
        return ee.Number(random.random()).getInfo() is not None  # a question not asked before
    except (ConnectionError, TimeoutError, ee.EEException):
        return False


def is_too_large(refused, request):
    """Tells whether a request that was refused should be made in halves: where the service
    says that it is too much for it, or where it may be and the service answers other
    requests. Later tries of the item know it from current.too_large."""
    if isinstance(refused, TooMuch) or service_answers():
        current.too_large.add(request)
    return request in current.too_large


@contextlib.contextmanager
def time_limit(seconds):
    """Raises Late after so many seconds, also while an answer trickles in; Windows
    can't."""
    def ring(*_):
        raise Late
    if hasattr(signal, 'setitimer'):
        signal.signal(signal.SIGALRM, ring)
        # again on each second, as one that comes within a __del__() gets lost
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        stop_timer()


def stop_timer():
    """Ends what time_limit() has begun."""
    if hasattr(signal, 'setitimer'):
        signal.setitimer(signal.ITIMER_REAL, 0)


@functools.cache  # once a process
def start_ee():
    """Starts Earth Engine on the high-volume endpoint."""
    credentials = sign_in()

    def request(uri, method='GET', **options):
        answer, content = send(uri, method, **options)
        if answer.status == 401 and urllib.parse.urlsplit(uri).hostname.startswith('earthengine'):
            credentials.token = None  # the next try gets a new one, or is refused that for good
            raise ConnectionError('401, the sign-in has expired')
        return answer, content

    socket.setdefaulttimeout(60)  # ee fetches its list of deprecated assets with no time limit
    ee.data.setMaxRetries(0)  # PATIENCE alone tries again
    ee.Initialize(credentials, ee.data.HIGH_VOLUME_API_BASE_URL, project=project_id(),
                  http_transport=types.SimpleNamespace(request=request))
    tag = re.sub('[^a-z0-9_-]', '-', script_name.removesuffix('.py').lower()).strip('-_')[:63]
    ee.data.setDefaultWorkloadTag(tag or 'script')  # Cloud Monitoring tells costs by it


def sign_in():
    """Returns the credentials of `earthengine authenticate` or, where there are none, those
    that google.auth finds: a service account, a workload identity, gcloud's."""
    # with a quota project ee would work with a copy, whose token start_ee() could not renew
    stored = {**stored_credentials(), 'quota_project_id': None}
    if stored.get('refresh_token'):
        return google.oauth2.credentials.Credentials(None, **stored)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # on projects: ours is in project_id()
            credentials, _ = google.auth.default(scopes=ee.oauth.SCOPES)
    except DefaultCredentialsError as why:
        key_file = os.environ.get('GOOGLE_APPLICATION_CREDENTIALS')
        check(not key_file, f'GOOGLE_APPLICATION_CREDENTIALS is {key_file}: {why}')
        sys.exit('Earth Engine knows no sign-in of yours here: type earthengine authenticate, and '
                 'then earthengine set_project YOUR-PROJECT.')
    return credentials.with_quota_project(None) if credentials.quota_project_id else credentials


def stored_credentials():
    """Returns what `earthengine authenticate` has left, as arguments of google.auth's
    class."""
    with contextlib.suppress(OSError, ValueError):  # not there, or broken
        return ee.oauth.get_credentials_arguments()
    return {}


def project_id():
    """Returns the Cloud project in use as far as files tell, without asking anybody, or
    None."""
    key_file = os.environ.get('GOOGLE_APPLICATION_CREDENTIALS', '')
    named = PROJECT or stored_credentials().get('quota_project_id')
    with contextlib.suppress(OSError, ValueError):  # of which sign_in() tells
        key = json.loads(pathlib.Path(key_file).read_text('utf-8'))
        named = named or key.get('quota_project_id') or key.get('project_id')
    return named or ee.oauth.get_appdefault_project()


# The log

log_header = 'time,file,outcome,why\n'
# outcomes of an item: begun, retry, done, nothing, failed, again; other rows: list, keep, warning


def note(outcome, why='', file=None):
    """Adds a row to the log, as other processes add theirs."""
    when = utc_now().isoformat(timespec='milliseconds').replace('+00:00', 'Z')
    why = explain(why)
    if why.startswith(('=', '+', '-', '@')):
        why = f' {why}'  # or a spreadsheet would take it for a formula
    row = io.StringIO()
    csv.writer(row, lineterminator='\n').writerow([when, file or current.file, outcome, why])
    with contextlib.suppress(PermissionError):  # in Windows another program may have it open
        append(row.getvalue())


@retry(PermissionError, tries=7, delay=0.1, backoff=2, logger=None)
def append(row):
    """Adds a row to the log in one piece, and before a first one the header."""
    end_if_orphaned()
    with open(log_file, 'a', newline='', encoding='utf-8', errors='replace') as rows:
        rows.write(row if rows.tell() else log_header + row)


def note_warning(message, *_, **__):
    """Adds what somebody warns of to the log, in place of the screen."""
    if list_file.exists():  # else the folder may be somebody else's
        note('warning', str(message))


def mend_log():
    """Gives the log its header, and takes half a row from its end."""
    text = log_file.read_bytes() if log_file.exists() else b''
    rows = text.removeprefix(log_header.encode()).replace(b'\0', b'')
    mended = log_header.encode() + rows[:rows.rfind(b'\n') + 1]
    if mended != text:
        write(log_file, mended)


class Log:
    """What the log says of each item, and the bar that shows it."""

    def __init__(self):
        self.place = 0  # bytes that were read
        self.outcomes = {}  # {file: (outcome, why)}, the last of each
        self.begun = {}  # {file: when a worker last began with it}
        self.reason = ''  # the last one
        self.restricted = False
        self.next_line = 0  # when the bar is due without a terminal
        self.bar = tqdm(disable=True)
        self.read()
        self.outcomes = {file: (outcome, why) for file, (outcome, why) in self.outcomes.items()
                         if outcome in ('done', 'nothing')}  # all else is tried again

    def last(self, file):
        """Returns (outcome, why), the last of an item."""
        return self.outcomes.get(file, ('again', 'not tried yet'))

    def show_bar(self, total, initial):
        """Begins to show how many of total items are there, at first initial."""
        terminal = sys.stderr.isatty()
        self.reason = ''
        self.next_line = time.monotonic() + 30
        self.bar = tqdm(total=total, initial=initial, ascii=' #', dynamic_ncols=True,
                        file=sys.stderr if terminal else open(os.devnull, 'w'))

    def read(self):
        """Takes in the rows that are new."""
        for when, file, outcome, why in self.new_rows():
            if outcome == 'list':  # items may be others now
                self.outcomes = {file: last for file, last in self.outcomes.items()
                                 if last[0] == 'done'}
            elif outcome == 'retry':
                self.reason = why
            elif file in items and outcome != 'warning':
                self.outcomes[file] = outcome, why
                self.bar.update(outcome in ('done', 'nothing'))
                if outcome == 'begun':
                    with contextlib.suppress(ValueError):
                        self.begun[file] = datetime.datetime.fromisoformat(when)
                elif outcome != 'done':
                    self.reason = why
            if 'restricted mode' in why.lower():
                self.tell_restricted()

    def new_rows(self):
        """Yields the rows that have come since the last call, as lists of four texts."""
        with contextlib.suppress(OSError), open(log_file, 'rb') as file:
            if file.seek(0, os.SEEK_END) < self.place:
                self.place = 0  # somebody has cut it
            file.seek(self.place)
            text = file.read()
            text = text[:text.rfind(b'\n') + 1]  # half a row comes whole next time
            self.place += len(text)
            for line in text.decode('utf-8', 'replace').split('\n'):
                with contextlib.suppress(csv.Error):  # half a row spoils no other
                    row = next(csv.reader([line]), [])
                    if len(row) == 4:
                        yield row

    def tell_restricted(self):
        """Says once what restricted mode is."""
        if self.bar.disable or self.restricted:
            return  # an old row, or it has been said
        self.restricted = True
        say('Your project is in restricted mode: it has used up the computing of its tier for this '
            'month, and Earth Engine answers about 2 requests at a time. This goes on slowly, and '
            'nothing is lost; PROCESSES = 2 spares refusals. Your tier: '
            'https://console.cloud.google.com/earth-engine/configuration/manage-tier')

    def show(self):
        """Brings the bar up to date; without a terminal it is a line every half minute."""
        self.read()
        ended = collections.Counter(outcome for outcome, _ in self.outcomes.values())
        last = f', last: {shorten(self.reason)}' if self.reason else ''
        self.bar.set_postfix_str(f'{ended["failed"]} failed, {ended["nothing"]} nothing{last}')
        if not sys.stderr.isatty() and time.monotonic() >= self.next_line:
            self.say_bar()

    def say_bar(self):
        """Prints the bar as a line."""
        self.next_line = time.monotonic() + 30
        say(str(self.bar))

    def settle(self, files):
        """Gives each item that was begun and did not end the row that says what became of
        it."""
        for file in files:
            if self.last(file)[0] == 'begun':
                self.end(file, 'done' if is_there(file) else 'again', 'its round was broken off')

    def end(self, file, outcome, why):
        """Notes what became of an item."""
        note(outcome, '' if outcome == 'done' else why, file)
        self.read()


# Workers

end_signals = signal.SIGINT, signal.SIGTERM  # Ctrl-C, and what a computer sends that shuts down


@contextlib.contextmanager
def signals_held():
    """Holds both signals back while workers start; start_worker() lets them go there."""
    if not hasattr(signal, 'pthread_sigmask'):  # Windows
        yield
        return
    if multiprocessing.get_start_method() != 'fork':
        resource_tracker.ensure_running()  # its start would let them go
    handlers = [(number, signal.getsignal(number)) for number in end_signals]
    signal.pthread_sigmask(signal.SIG_BLOCK, end_signals)
    try:
        yield
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)  # Ray sets one of its own
        signal.pthread_sigmask(signal.SIG_UNBLOCK, end_signals)


def start_worker(parents_digest, parents_folder):
    """Readies a worker process."""
    if parent := multiprocessing.parent_process():  # None on a cluster
        sys.stderr = open(os.devnull, 'w')
        threading.Thread(target=end_after, args=[parent], daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all, the parent acts on it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, end_signals)
    os.chdir(parents_folder)  # on a cluster workers start elsewhere
    current.edited = digest_of_program() != parents_digest
    logging.getLogger('retry.api').addFilter(note_retry)
    warnings.showwarning = note_warning


def end_after(parent):
    """Ends this process when its parent has ended, however that came about."""
    parent.join()
    os._exit(1)


def note_retry(record):
    """Adds what retry logs to our log, and to no other."""
    note('retry', record.args[0])
    return False


def work(index, item):
    """Calls getResult() in a worker, and logs how it went."""
    current.begin(item['file'])
    note('begun', str(os.getpid()))
    try:
        check(not current.edited, f'{script_name} was edited meanwhile: run it again.')
        retry(**PATIENCE)(start_ee)()
        remark = try_while_it_helps(index, item)
        check(is_there(item['file']), 'getResult() did not save() its file.')
        note('done', str(remark or ''))
    except Nothing as why:
        note('nothing', why)
    except (ConnectionError, TimeoutError) as why:
        note('again', why)
    except BaseException as why:  # also SystemExit, of check()
        note('failed', why)


def try_while_it_helps(index, item):
    """Returns what getResult() does. It is tried as often as PATIENCE says, and so often
    again if this has brought some of many parts."""
    while True:
        before = current.progress()
        try:
            return getResult(index, item)
        except ConnectionError:
            if current.progress() <= before:
                raise


def digest_of_program():
    """Returns a digest of the script, as all of its text could fill the pipe to a worker."""
    return hashlib.sha256(program.encode()).hexdigest()


def start_pool(size):
    """Starts workers, and no other process."""
    session.close()  # or forked workers would share its connections
    gc.collect()  # an earlier pool lies in cycles of references, and would keep its files open
    gc.freeze()  # workers need not look for garbage in what is there already
    for last in False, False, True:
        try:
            with signals_held():
                return Pool(size, start_worker, [digest_of_program(), os.getcwd()])
        except BrokenPipeError as why:  # one was killed before it had heard what to do
            check(not last, f'PROCESSES: processes are killed when they start here ({why}).')
        except (OSError, RuntimeError, EOFError) as why:  # too many files, processes, no /dev/shm
            sys.exit(f'PROCESSES: {size} processes cannot be started here ({why}): lower '
                     'PROCESSES.')


def alive():
    """Returns the process ids of the workers, as the log has them; on a cluster none."""
    return {str(worker.pid) for worker in multiprocessing.active_children()}


def end_pool(pool):
    """Ends the workers and the threads of their pool."""
    ending = threading.Thread(target=pool.terminate, daemon=True)
    ending.start()
    ending.join(1)
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()
    if ending.is_alive() and Pool == multiprocessing.Pool:
        # a worker was killed that had one of these, and the pool waits for it
        for lock in pool._inqueue._rlock, pool._outqueue._wlock:
            with contextlib.suppress(ValueError, AttributeError):  # free, or on Windows none
                lock.release()
        ending.join(5)


def run(jobs, log):
    """Has workers do jobs, [(index, item)], until all are tried or the pool is broken,
    which waits for ever for a worker that was killed. Returns the ids of such workers, and
    when they were last seen alive."""
    pool = start_pool(min(PROCESSES, len(jobs)))
    workers = alive()
    options = {'chunksize': 1} if Pool == multiprocessing.Pool else {}  # Ray's has no such option
    result = pool.starmap_async(work, jobs, **options)
    quiet, sign, seen = 0, None, utc_now()
    while not result.ready() and alive() == workers and quiet < DEADLINE + 60:
        seen = utc_now()
        result.wait(0.5)
        log.show()
        watch_folder(log)
        last, sign = sign, sign_of_life()
        quiet = quiet + 0.5 if sign == last else 0
    killed = workers - alive()
    if not result.ready():
        say('A process was killed, for lack of memory perhaps, or is stuck: the rest begins again.')
    end_pool(pool)
    log.read()
    return killed, seen


def utc_now():
    """Returns the time as the log has it."""
    return datetime.datetime.now(datetime.timezone.utc)


def sign_of_life():
    """Returns when a worker last sent a request or added a row."""
    with contextlib.suppress(OSError):
        return log_file.stat().st_mtime_ns


full_words = os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)  # as this system says it


def watch_folder(log):
    """Ends the run if its folder or the place on its disk is gone."""
    if not list_file.exists():
        leave(1, f'{OUTPUT} was moved or deleted while this was at work in it')
    if shutil.disk_usage(folder).free < 1 << 20:
        leave(1, f'The disk of {OUTPUT} is full')
    if any(words in log.reason for words in full_words):  # for all its free bytes, as by a quota
        leave(1, f'Nothing more can be written: {log.reason}')


# The list of items

not_in_recipe = {  # as no result depends on them
    'PROJECT', 'PROCESSES', 'DEADLINE', 'PATIENCE', 'PAUSES', 'OUTPUT', 'program', 'tell_early',
    'check_constants', 'hint'}


@functools.cache
def names_in(text):
    """Returns {name: statements} of what a piece of a script defines at its top level, but
    for what it imports."""
    found = collections.defaultdict(list)
    for part in ast.parse(text).body:
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
            found[part.name] = [part]  # in place of what had this name
        else:
            for name in {*names_of(part)}:
                found[name].append(part)
    return dict(found)


def names_of(node):
    """Yields the names that a statement defines where it stands, not within functions."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif not isinstance(node, ast.comprehension):  # [... for name in ...] defines none
        for part in ast.iter_child_nodes(node):
            yield from names_of(part)


def imported(text):
    """Returns the names that a piece of a script imports."""
    return {alias.asname or alias.name.split('.')[0] for part in ast.parse(text).body
            if isinstance(part, (ast.Import, ast.ImportFrom)) for alias in part.names}


def recipe():
    """Returns {name: text} of all that results depend on: constants, functions, a digest of
    each file that these name, and of each module beside the script."""
    found, files = {}, own_modules()
    for name, parts in names_in(user_part).items():
        if name not in not_in_recipe:
            key, text, values = described(name, parts)
            found[key] = text
            if name != 'INDEX':  # which is no input, but in OUTPUT
                files.update({str(file): file for file in files_named(values)})
    for name, path in files.items():
        with open(path, 'rb') as file:
            found[f'the file {name}'] = hashlib.file_digest(file, 'sha256').hexdigest()
    return found


def described(name, parts):
    """Returns what recipe() has of a name that these statements define: (key, text, values
    that may be the names of files). A constant's text is its value as JSON or, where JSON
    has no such value, what gives it its value."""
    value = globals().get(name)
    check(not isinstance(value, ee.ComputedObject), f'{name} is an Earth Engine object: make these '
          'inside functions, not as constants.')
    written = [node.value for part in parts for node in ast.walk(part)
               if isinstance(node, ast.Constant)]
    if callable(value):
        return f'{name}()', '\n'.join(map(text_of, parts)), written
    with contextlib.suppress(TypeError, ValueError):
        return name, json.dumps(value, sort_keys=True, default=plain), [value]
    sources = [part.value if isinstance(part, ast.Assign) else part for part in parts]
    return name, '; '.join(map(ast.unparse, sources)), written


def text_of(statement):
    """Returns the text of a statement of the user, with the decorators of a function or
    class."""
    decorators = [f'@{ast.unparse(node)}' for node in getattr(statement, 'decorator_list', [])]
    lines = user_part.split('\n')[statement.lineno - 1:statement.end_lineno]
    return '\n'.join(decorators + lines)


def plain(value):
    """Returns what JSON can take for a value that it does not know, the same each time."""
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(one, sort_keys=True, default=plain) for one in value)
    if isinstance(value, (datetime.date, datetime.timedelta, bytes, pathlib.PurePath)):
        return str(value)
    for name in 'to_csv', 'tolist':  # tables of pandas, arrays of numpy
        if hasattr(value, name):
            return getattr(value, name)()
    raise TypeError


def files_named(values):
    """Yields those of some values that are names of files, also within lists and dicts."""
    for value in values:
        if isinstance(value, dict):
            yield from files_named(value.values())
        elif isinstance(value, (list, tuple, set)):
            yield from files_named(value)
        elif isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
            yield value


def own_modules():
    """Returns {name: path} of the files of the modules beside the script that the user's part
    imports, and of those that they import."""
    beside = pathlib.Path(this_file).resolve().parent
    found, texts = {}, [user_part]
    while texts:
        for name in modules_in(texts.pop()):
            for path in *beside.glob(f'{name}.py'), *beside.glob(f'{name}/**/*.py'):
                key = path.relative_to(beside).as_posix()
                if key not in found:
                    found[key] = path
                    texts.append(path.read_text('utf-8-sig', 'replace'))
    return found


def modules_in(text):
    """Returns the names of the modules that a text imports anywhere, without what follows a
    dot."""
    found = set()
    with contextlib.suppress(SyntaxError):  # whoever imports it will see that
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition('.')[0])
    return found


def changes(then, now):
    """Returns what is different between two recipes, as sentences without a full stop."""
    sentences = []
    for name in sorted({*then, *now}):
        old, new = then.get(name), now.get(name)
        if old == new or old is None and name.startswith('the file '):
            continue  # what names a new file has changed, too, or a run has written it
        if old is None or new is None:
            sentences.append(f'{name} is {"new" if old is None else "gone"}')
        elif name.startswith('the file '):
            sentences.append(f'{name} has changed')
        elif not name.endswith('()'):
            old, new = apart(in_python(old), in_python(new))
            sentences.append(f'{name} is {new} now and was {old}')
        elif does(old) != does(new):
            sentences.append(f'{name} has changed')
    return sentences


def in_python(text):
    """Returns the value of a constant, which is JSON if possible, as it is written in
    Python."""
    with contextlib.suppress(ValueError):
        return repr(json.loads(text))
    return text


def apart(*texts):
    """Returns two texts, cut down to where they differ if one is long."""
    same = len(os.path.commonprefix(texts))
    if max(map(len, texts)) <= 60 or same < 15:
        return map(shorten, texts)
    return [shorten(f'...{text[same - 10:]}') for text in texts]


def does(text):
    """Returns the code of a function alone: without comments and docstrings, and in the one
    form that this version of Python gives it."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        has_docstring = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and (
            ast.get_docstring(node) is not None)
        if has_docstring:
            node.body = node.body[1:]
    return ast.unparse(tree)


def get_list(keep):
    """Fills items with the list that the folder was begun with or, where nothing has come
    of it or the user keeps what has, with a new one; returns what getRequests() warned
    of."""
    made, now = read_list(keep), recipe()
    came = {file: item for file, item in made['items'].items() if is_there(file)}
    differences = changes(made['recipe'], now) if made['recipe'] else ['the list was lost']
    check(not came or made['standin'] == is_standin(), f'The results in {OUTPUT} are '
          f'{"made up, of the stand-in" if made["standin"] else "real, not of the stand-in"}: set '
          'OUTPUT to a new folder, or delete this one.')
    if keep or not came:
        made = new_list(now, came, differences)
    else:
        check(not differences or made['script'] == script_name,
              f'{OUTPUT} was begun by {made["script"]}: set OUTPUT to a new folder.')
        check(not differences, f'{"; ".join(differences[:5])}{"; ..." * (len(differences) > 5)}. '
              f'{advice(came, differences)}')
    items.update(made['items'])
    if not (folder / INDEX).is_file():
        write_index()
    return made['warned']


def new_list(now, came, differences):
    """Makes and writes a new list, by the recipe `now`; what has come must fit it."""
    say('Asking Earth Engine for the list of items.')
    patiently(start_ee)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        current.begin('')
        found = checked(patiently(getRequests))
        current.begin('')  # drops the answers that were kept for it
    compare(came, found)
    kept = sum(map(is_there, found))
    texts = dict.fromkeys(str(one.message) for one in warned)  # once each
    made = {'script': script_name, 'standin': is_standin(), 'recipe': now, 'items': found,
            'warned': [text for text in texts if 'restricted mode' not in text]}
    mend_log()  # or its first row could be glued to half of one
    if kept:
        changed = '; '.join(differences) or 'nothing has changed'
        note('keep', f'{kept} results; {changed}')
        say(f'Kept as they are: {kept} of {len(found)} items. Since they were made: {changed}.')
    note('list', f'{len(found)} items')  # what had nothing is asked for again from here on
    if (folder / INDEX).is_file():
        os.remove(folder / INDEX)  # before the list is another, or a kill in between would leave it
    write(list_file, json.dumps(made).encode())
    return made


def read_list(keep):
    """Returns what .list.json holds. Where it is not there it has no items, if nothing else
    is in the folder either, or the user keeps what is."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        made = json.loads(list_file.read_text('utf-8'))
        return {name: made[name] for name in ('script', 'standin', 'recipe', 'items', 'warned')}
    there = {path.name for path in folder.glob('[!.]*')}
    if list_file.exists() or log_is_ours():
        check(keep or there <= {log_file.name, INDEX},
              f'{list_file}, the list of what {OUTPUT} holds, is lost or cannot be read. With '
              '--keep it is made anew, and keeps the files that have a name of its items.')
    else:
        check(not there,
              f'{OUTPUT} has files that this script did not make: set OUTPUT to a new folder.')
    return {'script': script_name, 'standin': is_standin(), 'recipe': {}, 'items': {},
            'warned': []}


def log_is_ours():
    """Tells whether there is a log, and it begins as those of this script, be it cut
    off."""
    with contextlib.suppress(OSError):
        start = log_file.read_bytes()[:len(log_header)]
        return log_header.encode().startswith(start)
    return False


def is_standin():
    """Tells whether this runs on the local stand-in for Earth Engine, whose results are
    made up."""
    return project_id() == 'standin-project'


def advice(came, differences):
    """Returns what to do about differences. Where all results have in their items what a
    changed constant was (the end of END, say), --keep could keep none of them."""
    for name, value in next(iter(came.values())).items():
        changed = any(sentence.startswith(f'{name.upper()} is ') for sentence in differences)
        if changed and all(item.get(name) == value for item in came.values()):
            return (f'The {len(came)} results in {OUTPUT} have the {name} {value}, and each would '
                    'be another: set OUTPUT to a new folder.')
    return (f'The results in {OUTPUT} were made before that. Change it back, set OUTPUT to a new '
            'folder, or add --keep to go on with those that still fit.')


def compare(came, new):
    """Ends the run if items that have come are others, or not there, in a new list; columns
    that are new don't count."""
    gone = [file for file in came if file not in new]
    other, keys = [], set()
    for file in came.keys() & new.keys():
        differ = {key for key, value in came[file].items() if (key, value) not in new[file].items()}
        if differ:
            other.append(file)
            keys |= differ
    misfits = []
    if other:
        has = 'has' if len(other) == 1 else 'have'
        misfits.append(f'{len(other)} {has} another {", ".join(sorted(keys))} in the new list '
                       f'({listed(sorted(other))})')
    if gone:
        is_not = 'is not' if len(gone) == 1 else 'are not'
        misfits.append(f'{len(gone)} {is_not} in the new list ({listed(gone)})')
    check(not misfits, f'Of {len(came)} results in {OUTPUT} {" and ".join(misfits)}. Delete these '
          'files and run it with --keep again, or set OUTPUT to a new folder.')


def checked(found):
    """Returns {file: item} of what getRequests() returned, as later runs will read it."""
    try:
        found = [*(found or [])]
    except TypeError:
        sys.exit(f'getRequests() returned a {type(found).__name__}, and is to return a list.')
    check(found, 'getRequests() found nothing to do.')
    new, taken = {}, {INDEX.casefold(): 'the index', log_file.name: 'the log'}
    for number, item in enumerate(found):
        where = f'getRequests(): item {number}'
        check(type(item) is dict,
              f'{where} is a {type(item).__name__}, not a dict: {item!r:.100}')
        check('file' in item, f"{where} has no 'file', the name of its result: {item!r:.200}")
        check(item.keys() == found[0].keys(), f'{where} has the keys {[*item]}, but all have to '
              f'have those of item 0, {[*found[0]]}.')
        check_name(where, item['file'])
        check_values(where, item)
        name = item['file'].casefold()
        check(name not in taken, f'{where} has the file {item["file"]!r}, and so has '
              f'{taken.get(name)}, perhaps in other letters: each needs a name of its own.')
        taken[name] = f'item {number}'
        new[item['file']] = {key: item[key] for key in found[0]}
    for file in new:
        for place in pathlib.PurePosixPath(file).parents:
            check(str(place).casefold() not in taken, f'getRequests(): {file!r} is to be in the '
                  f'folder {str(place)!r}, which is the file of another item.')
    return json.loads(json.dumps(new))


def check_name(where, file):
    """Ends the run if a file can't have this name on every system."""
    check(type(file) is str, f"{where} has the 'file' {file!r}: it must be text.")
    for part in file.split('/'):
        try:
            pathvalidate.validate_filename(part, platform='universal', max_len=200)
        except (pathvalidate.ValidationError, UnicodeError) as why:
            reason = getattr(why, 'reason', why)
            sys.exit(f'{where} has the file {shorten(file)!r}, which cannot be a name on every '
                     f'system: {getattr(reason, "description", reason)}.')
        check(part[0] != '.', f'{where} has the file {file!r}: no part of it may begin with a dot.')


def check_values(where, item):
    """Ends the run if an item holds what a file can't keep."""
    for key, value in item.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            sys.exit(f'{where} has {key!r}: {value!r:.100}, a {type(value).__name__}. Items hold '
                     'text, numbers and None: use float(), int() or str(), and None for NaN.')


def write_index():
    """Writes the table of all items."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator='\n')
    rows.writerow(next(iter(items.values())).keys())
    rows.writerows(item.values() for item in items.values())
    write(folder / INDEX, table.getvalue().encode('utf-8', 'replace'))


# A run

def patiently(ask):
    """Returns ask(), which is asked again after each of PAUSES while nothing can be
    reached."""
    for minutes in PAUSES:
        try:
            return retry(**PATIENCE)(ask)()
        except (ConnectionError, TimeoutError) as why:
            pause(minutes, explain(why).rstrip('.'))
    return retry(**PATIENCE)(ask)()


def pause(minutes, why):
    """Waits, and says why."""
    say(f'{why}. The next try is in {minutes} minute{"s" * (minutes != 1)}.')
    time.sleep(60 * minutes)


def fetch(limit):
    """Fetches what is missing, or (limit) that many items of it; returns the Log and their
    files."""
    log = Log()
    missing = [(index, item) for index, (file, item) in enumerate(items.items())
               if not is_there(file) and log.last(file)[0] != 'nothing']
    jobs = random.sample(missing, len(missing))[:limit]
    files = [item['file'] for _, item in jobs]
    clear_way(files)
    if limit is None:
        log.show_bar(len(items), len(items) - len(jobs))
    else:
        log.show_bar(len(jobs), 0)
    for file in files:
        log.outcomes[file] = 'again', 'not tried yet'
    go_round(jobs, log)
    if not sys.stderr.isatty():
        log.say_bar()
    log.bar.close()
    return log, files


def clear_way(files):
    """Makes the folders of some files, and removes what killed runs have left in them."""
    for place in {folder, *((folder / file).parent for file in files)}:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as why:
            sys.exit(f'{place} is to be a folder of results, and cannot be made one ({why}).')
        for part in place.glob('.part-*'):
            if part.is_file():
                part.unlink(missing_ok=True)


def go_round(jobs, log):
    """Has jobs done, [(index, item)], those that are left again in further rounds: at once
    after one that brought something, else after each of PAUSES."""
    pauses = [*PAUSES]
    kills, hits = collections.Counter(), collections.Counter()
    broken = 0  # rounds in a row that brought nothing but killed processes
    while jobs:
        patiently(start_ee)
        killed, seen = run(jobs, log)
        blame(killed, seen, log, kills, hits)
        log.settle(item['file'] for _, item in jobs)
        log.show()
        before = len(jobs)
        jobs = [(index, item) for index, item in jobs if not is_there(item['file'])
                and log.last(item['file'])[0] not in ('nothing', 'failed')]
        # those that were in work in killed processes go last
        jobs.sort(key=lambda job: hits[job[1]['file']])
        if len(jobs) < before:
            pauses, broken = [*PAUSES], 0
            continue
        broken = broken + 1 if killed else 0
        if 0 < broken < 3:
            continue  # at once, as in the new order others may come first
        if not pauses:
            break
        pause(pauses.pop(0), 'Nothing came in this round')


def blame(killed, seen, log, kills, hits):
    """Counts how often each item was in work in a process that was killed: in hits always, in
    kills if this looks like its own doing, as no other process was killed and the item had
    been in work for more than a second. After two of these the item has failed."""
    for file, (outcome, why) in [*log.outcomes.items()]:
        if outcome != 'begun' or why not in killed or is_there(file):
            continue
        lasted = seen - log.begun.get(file, seen)  # or up to half a second more
        hits[file] += 1
        kills[file] += len(killed) == 1 and lasted.total_seconds() > 1
        if kills[file] > 1:
            log.end(file, 'failed', 'its process was killed twice, for lack of memory perhaps')
        else:
            log.end(file, 'again', 'its process was killed')


def report(log, files, warned):
    """Tells what has become of the items; returns whether one of these files is missing."""
    there = sum(map(is_there, items))
    say(f'{there} of {len(items)} {"are" if files else "were already"} in {OUTPUT}, listed in '
        f'{INDEX}.')
    groups = collections.defaultdict(list)  # {(outcome, kind of reason): [(file, reason)]}
    for file, outcome, why in reasons(log, {*files}):
        kind = why if outcome == 'done' else tuple(varying.split(why)[::2])
        groups[outcome, kind].append((file, why))
    for (outcome, _), group in sorted(groups.items(), key=lambda pair: -len(pair[1]))[:20]:
        text = in_common([why for _, why in group])
        say(f'{len(group)} {outcome}: {text} ({listed([file for file, _ in group])})')
    if len(groups) > 20:
        say(f'... and {len(groups) - 20} more reasons, which {log_file} tells.')
    for sentence in warned:
        say(f'Warning: {explain(sentence)}')

    missing = [file for file in files if not is_there(file) and log.last(file)[0] != 'nothing']
    mistakes = [file for file in missing if f' ({script_name}, line ' in log.last(file)[1]]
    if mistakes:
        say('Mend the script, then run it with --keep to try these again.')
    elif missing:
        failed = any(log.last(file)[0] == 'failed' for file in missing)
        mended = ', with --keep if you mend the script first' * failed
        say(f'Run it again to try these again{mended}; {log_file} tells of each try.')
    elif files and not there:
        say_hint()
    return bool(missing) or not there


def reasons(log, files):
    """Yields (file, outcome, reason) of all that is worth a word: what getResult() said of
    results that are there, and why others are not."""
    for file, (outcome, why) in sorted(log.outcomes.items()):
        if outcome == 'done' and is_there(file):
            if why:
                yield file, outcome, why
        elif outcome == 'done':
            if file in files:
                yield file, 'again', 'its file was deleted'
        elif not is_there(file):
            yield file, outcome, why


varying = re.compile(r"('[^']*'|\d+)")  # what differs in reasons of a kind: names, numbers


def in_common(texts):
    """Returns what some reasons of a kind have in common, with '...' for what differs."""
    pieces = zip(*map(varying.split, texts))
    return ''.join(same[0] if len({*same}) == 1 else '...' for same in pieces)


def say_hint():
    """Says what the script's own hint() has to say, where it has one, when nothing was
    found."""
    with contextlib.suppress(Exception):
        if 'hint' in globals():
            start_ee()
            say(globals()['hint']())


def say_pace(files, seconds):
    """Says what all items would take, by those that were fetched for a look."""
    sizes = [os.path.getsize(folder / file) for file in files if is_there(file)]
    if sizes and not all(map(is_there, items)):
        each = seconds * min(PROCESSES, len(files)) / len(sizes)  # seconds of a process
        minutes = len(items) * each / PROCESSES / 60
        megabytes = len(items) * sum(sizes) / len(sizes) / 1e6
        say(f'At this pace all {len(items)} take {rounded(minutes)} minutes, and '
            f'{rounded(megabytes)} MB.')


def rounded(number):
    """Returns a number as text, without what lies behind the point."""
    return f'some {number:,.0f}' if number >= 1.5 else 'less than 2'


def leave(status, why):
    """Ends this process and its workers at once; what they leave undone, the next run
    fetches."""
    for number in end_signals:
        signal.signal(number, signal.SIG_IGN)  # or a second Ctrl-C would be told, too
    workers = multiprocessing.active_children()
    for worker in workers:
        with contextlib.suppress(OSError, AttributeError):  # it has ended; Windows
            os.kill(worker.pid, signal.SIGSTOP)  # as the pool puts another in place of a dead one
    there = sum(map(is_there, items))
    count = f': {there:,} of {len(items):,} are there' if items else ''
    with contextlib.suppress(Exception):  # below the bar
        print(f'\n{why}{count}. Run it again to go on.', file=sys.stderr)
    for worker in workers:
        worker.kill()
    os._exit(status)


def check_setting():
    """Ends the run if something is wrong that can be known without the service."""
    limit = 60 if os.name == 'nt' else 10 ** 6
    check(type(PROCESSES) is int and 0 < PROCESSES <= limit,
          f'PROCESSES must be a whole number above 0, on Windows at most 60, not {PROCESSES!r}.')
    if PROCESSES > 40:
        say(f'Warning: PROCESSES: {PROCESSES} is above the usual quota, 40 requests at once.')
    check(pathvalidate.is_valid_filename(INDEX, platform='universal')
          and INDEX.casefold() != log_file.name and INDEX[0] != '.',
          f"INDEX must be a name like 'index.csv', not {INDEX!r}.")
    check(folder.is_dir() or not os.path.lexists(folder),
          f'OUTPUT: {OUTPUT} is no folder, and cannot be made one.')
    check_names()
    check(type(DEADLINE) in (int, float) and DEADLINE > 0,
          f'DEADLINE must be a number of seconds above 0, not {DEADLINE!r}.')
    check(type(PAUSES) is list and all(type(one) in (int, float) and one >= 0 for one in PAUSES),
          f'PAUSES must be a list of minutes like [1, 10, 60], not {PAUSES!r}.')
    recipe()  # which refuses Earth Engine objects as constants
    if 'check_constants' in globals():
        globals()['check_constants']()


def check_names():
    """Ends the run if the user and the machinery define the same name, or one of them a name
    that the user imports."""
    ours, theirs = {*names_in(program[len(user_part):])}, {*names_in(user_part)}
    brought = imported(user_part)
    both = ours & (theirs | brought) | theirs & brought
    check(not both, f'{" and ".join(sorted(both))}: the machinery needs this name for something '
          'else. Give yours another one.')


def raise_file_limit():
    """Lets this process open as many files as its workers need; macOS begins with 256."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = 100 + 6 * PROCESSES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    check(hard == resource.RLIM_INFINITY or hard >= needed,
          f'PROCESSES: {PROCESSES} processes need {needed} open files, and this computer allows '
          f'{hard} (ulimit -n): lower PROCESSES or raise that limit.')
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextlib.contextmanager
def own_folder():
    """Makes the folder and locks it, so that no two runs are at work in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        sys.exit(f'OUTPUT: {OUTPUT} cannot be made a folder ({why}).')
    lock = filelock.FileLock(folder / '.lock')
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        sys.exit(f'{OUTPUT}: another run is at work here.')
    except (OSError, NotImplementedError) as why:
        say(f'Warning: do not run it twice at once, as {OUTPUT} cannot be locked ({why}).')
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def own_terminal():
    """Keeps standard error to this process: what helpers of multiprocessing and dying
    workers write there tells users nothing."""
    sys.stderr = sys.stderr or open(os.devnull, 'w')
    if sys.stderr is not sys.__stderr__:  # a notebook's
        yield
        return
    # with no buffer, or what a full disk does not take would come up again and again
    ours = io.TextIOWrapper(open(os.dup(2), 'wb', 0), sys.stderr.encoding, sys.stderr.errors,
                            write_through=True)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = ours
    try:
        yield
    finally:
        sys.stderr = sys.__stderr__
        os.dup2(ours.fileno(), 2)
        with contextlib.suppress(OSError):  # on a full disk
            ours.close()


@contextlib.contextmanager
def own_signals():
    """Has both signals end this process with a sentence, but for one that the shell
    ignores."""
    before = {number: signal.getsignal(number) for number in end_signals}
    for number in end_signals:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, lambda number, _: leave(128 + number, 'Stopped'))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def frozen_script():
    """Has workers that are started anew read the script as it was when this began, and not
    as it may have been edited since."""
    main_module = sys.modules['__main__']
    if multiprocessing.get_start_method() == 'fork' or main_module.__dict__ is not globals():
        # forked workers don't read it, and those of a cluster may read another, as work() tells
        yield
        return
    copy = folder / f'.{script_name}'
    write(copy, program.encode())
    main_module.__file__ = str(copy.absolute())
    try:
        yield
    finally:
        main_module.__file__ = this_file


def whole_run(options):
    """Does a run; returns whether something is missing at its end."""
    check_setting()
    raise_file_limit()
    with warnings.catch_warnings():
        warnings.showwarning = note_warning
        if not list_file.exists():
            say('Signing in to Earth Engine.')
            patiently(start_ee)  # before a folder is made
        with own_folder():
            return run_in_folder(options)


def run_in_folder(options):
    """Does a run in the folder, when no other can be at work there."""
    warned = get_list(options.keep)
    mend_log()  # whatever a power cut or a user has left
    start = time.monotonic()
    with frozen_script():
        log, files = fetch(options.first)
    seconds = time.monotonic() - start
    mend_log()  # it may have been cut meanwhile
    missing = report(log, files, warned)
    if options.first:
        say_pace(files, seconds)
    return missing


def above_zero(text):
    """Returns the whole number above 0 in a text."""
    if not re.fullmatch('0*[1-9][0-9]*', text):
        raise ArgumentTypeError(f'must be a whole number above 0, not {text!r}')
    return int(text)


def main():
    """Does a run as the command line says, and exits with 1 if something is missing."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--first', type=above_zero, metavar='N',
                        help='fetch N of the missing items only, drawn at random')
    parser.add_argument('--keep', action='store_true',
                        help='go on after a change of the script or of a table that it reads')
    options = parser.parse_args()
    with own_signals(), own_terminal():
        try:
            status = int(whole_run(options))
        except (Exception, SystemExit) as error:
            status = 1
            lines = map(explain, str(error).split('\n') if type(error) is SystemExit else [error])
            message = '\n'.join(lines).replace(
                'Call with project=', 'Set PROJECT, or type: earthengine set_project ID,')
            if multiprocessing.active_children():
                leave(1, message.rstrip('.'))
            if isinstance(error, (ConnectionError, TimeoutError)):
                message = f'{message.rstrip(".")}. Run it again later.'
            say(message)
    sys.exit(status)


if __name__ == '__main__':
    main()
