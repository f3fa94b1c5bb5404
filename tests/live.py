"""Tries the scripts on the real Earth Engine, and prints what it does where no source says.

    python tests/live.py

runs copies of chips.py and timeseries.py with a few chips in each format and 3 regions, looks at what
came, and then asks the service some small questions. It needs some minutes, and an account that
`earthengine authenticate` and `earthengine set_project ID` have set up. What it prints names no token,
id or project: please paste it into an issue. Words after the command choose among its lines:

    python tests/live.py csv token

The exit status is 1 if a script failed or saved something wrong, whatever the answers are.
"""
import csv
import datetime
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import ee
import google.auth.transport.requests
import numpy as np
import pyproj
import rasterio
import requests
from PIL import Image

from conftest import HERE, Folder

sys.path.insert(0, str(HERE.parent))
import chips  # noqa: E402
import timeseries  # noqa: E402

SECRETS = [(r'(thumbnails|tables|projects)/[\w-]+', r'\1/...'), (r'ya29\.[\w.-]+', '...'),
           (re.escape(str(Path.home())), '~')]
X, Y = -104.9, 39.5  # degrees, in Colorado
END = '2100-01-01'


# The scripts: run() and what it calls return what was found, or raise

def run(script, check, **constants):
    """Runs a copy of a script twice, and check() on what it saved."""
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path), None).edit(script, PROCESSES=8, **constants)
        folder.replace('timeseries.py', 'enumerate(rows)', 'enumerate(rows[::len(rows) // 3][:3])')
        start, command = time.time(), [sys.executable, script]
        first = subprocess.run(command, cwd=path, capture_output=True, text=True)
        seconds = time.time() - start
        assert first.returncode == 0, first.stdout + first.stderr
        name = script.removesuffix('.py')
        files = folder.files(name)
        index = folder.table(f'{name}/{sys.modules[name].INDEX}')
        assert len(files) == len(index) + 1 and {row['file'] for row in index} < set(files)
        found = check(index, files)
        # again with no way to the service, so nothing can be asked
        closed = dict.fromkeys(['HTTPS_PROXY', 'https_proxy'], 'http://127.0.0.1:9')
        again = subprocess.run(command, cwd=path, capture_output=True, env={**os.environ, **closed})
        assert again.returncode == 0 and folder.files(name) == files, 'another run changed something'
        said = [line for line in first.stderr.splitlines() if 'arning' in line]
        return ' '.join([f'{len(index)} in {seconds:.0f} s: {found}', *said])


def check_chips(index, files):
    """Size and kind of each chip, and the place of those that know it."""
    found = Counter()
    for row in index:
        name, body, crs = row['file'], io.BytesIO(files[row['file']]), row['crs']
        if name.endswith('npy'):
            array = np.load(body)
            assert array.shape == (256, 256) and list(array.dtype.names) == chips.BANDS, array.dtype
            found[str(array.dtype)] += 1
        elif name.endswith('tif'):
            with rasterio.open(body) as image:
                x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(
                    float(row['longitude']), float(row['latitude']))
                assert image.crs.to_string() == crs and image.shape == (256, 256), image.profile
                assert np.allclose(image.transform[:6], [1, 0, x - 128, 0, -1, y + 128],
                                   atol=0.01), (image.transform, x, y)
                found[f'{image.dtypes}, bands {image.descriptions}, nodata {image.nodata}'] += 1
        else:
            picture = Image.open(body)
            alpha = np.array(picture.convert('RGBA'))[..., 3]
            assert picture.size == (256, 256), picture.size
            found[f'{picture.format} {picture.mode}' + ', partly masked' * bool((alpha < 255).any())] += 1
    return ', '.join(f'{count} x {kind}' for kind, count in found.items())


def check_series(index, files):
    """Header, a row an image, dates in order and in range, degrees Celsius or nothing."""
    start, empty = recently(), 0
    images = ee.ImageCollection(timeseries.COLLECTION).filterDate(start, END).size().getInfo()
    for row in index:
        header, *lines = csv.reader(files[row['file']].decode().splitlines())
        dates, values = zip(*lines)
        assert header == ['date', timeseries.BAND] and len(lines) == images, (header, lines, images)
        assert list(dates) == sorted({*dates}) and start <= dates[0], dates
        assert all(-90 < float(value) < 90 for value in values if value), values
        empty += values.count('')
    return f'{images} dates each, {dates[0]} to {dates[-1]}; {empty} cells empty'


def recently():
    """The day a month ago, or three months before the newest image if that is older."""
    newest = ee.ImageCollection(timeseries.COLLECTION).aggregate_max('system:time_start').getInfo()
    newest = datetime.datetime.fromtimestamp(newest / 1000, datetime.timezone.utc).date()
    month = datetime.date.today() - datetime.timedelta(days=31)
    return str(month if newest > month else newest - datetime.timedelta(days=90))


# The questions, and first what they have in common

def naip():
    """The images of the default collection at X, Y."""
    return ee.ImageCollection(chips.COLLECTION).filterBounds(ee.Geometry.Point(X, Y)).filterDate(
        chips.START, chips.END).sort('system:time_start').map(
        lambda image: image.set('bands', image.bandNames()))


def chip():
    """What chips.py shows."""
    return naip().filter(ee.Filter.listContains('bands', 'B')).select(chips.BANDS).mosaic()


def lst():
    """The newest image of timeseries.py."""
    return ee.Image(ee.ImageCollection(timeseries.COLLECTION).filterDate(recently(), END)
                    .sort('system:time_start', False).first()).select(timeseries.BAND)


def ask(image, form='png', size=64):
    """The URL of an image at X, Y, asked for as chips.py does."""
    crs, east, north = chips.utm(X, Y)
    grid = {'crs': crs, 'dimensions': [size, size], 'crs_transform': [1, 0, east, 0, -1, north]}
    if form in ('png', 'jpg'):
        return image.getThumbURL({**grid, 'format': form, 'min': 0, 'max': 255})
    return image.getDownloadURL({**grid, 'format': {'tif': 'GEO_TIFF', 'npy': 'NPY'}[form]})


def get(url):
    """The answer to a GET, with a token in case one is needed."""
    client = google.auth.transport.requests.AuthorizedSession(ee.data.get_persistent_credentials())
    return client.get(url, timeout=330)


def fetch(url):
    """The bytes behind a URL."""
    answer = get(url)
    assert answer.ok, f'{answer.status_code} {answer.text}'
    return io.BytesIO(answer.content)


def table(*rows):
    """A collection of dicts."""
    return ee.FeatureCollection([ee.Feature(None, row) for row in rows])


def outcome(make):
    """Where a request is refused, and how; make() returns a URL to get, or what else it got."""
    try:
        made = make()
    except ee.EEException as error:
        return f'{getattr(error.__context__, "status_code", "?")} at the POST, "{error}"'
    if not str(made).startswith('https:'):
        return str(made)
    answer = get(made)
    text = f'{answer.content.count(10)} lines' if answer.ok else f'"{answer.json()["error"]["message"]}"'
    return f'{answer.status_code} at the GET, {text}'


def tokens():
    """For a chip and a table."""
    urls = ask(chip()), table({'a': 1}).getDownloadURL('csv', ['a'])
    return ', '.join(f'without {requests.get(url, timeout=330).status_code}, with {get(url).status_code}'
                     for url in urls)


def headers():
    """For each format."""
    urls = {form: ask(chip(), form) for form in ('png', 'jpg', 'tif', 'npy')}
    urls['csv'] = table(*[{'a': i} for i in range(99)]).getDownloadURL('csv', ['a'])
    names = 'Content-Type', 'Transfer-Encoding', 'Content-Encoding', 'Content-Disposition', 'Cache-Control'
    found = []
    for kind, url in urls.items():
        told = get(url).headers
        found.append(', '.join([kind] + ['Content-Length'] * ('Content-Length' in told) + [
            f'{name} {told[name]}' for name in names if name in told]))
    return '; '.join(found)


def modes():
    """Of PNG and JPEG, by what is masked."""
    west = ee.Image.pixelLonLat().select('longitude').lt(X + 0.0003)
    images = {'whole': chip(), 'partly masked': chip().updateMask(west), 'masked': chip().updateMask(0),
              'one band': chip().select(0), 'one band partly masked': chip().select(0).updateMask(west)}
    found = {name: ' '.join(Image.open(fetch(ask(image, form))).mode for form in ('png', 'jpg'))
             for name, image in images.items()}
    array = np.load(fetch(ask(images['masked'], 'npy')))
    return f'{found}; masked in npy {np.unique(array).tolist()}'


def twice():
    """Also an id with one letter changed."""
    url = ask(chip())
    same = fetch(url).read() == fetch(url).read()
    other = re.sub(r'.(?=:getPixels)', lambda last: 'b' if last[0] == 'a' else 'a', url)
    return f'{"the same" if same else "other"} bytes; another id {get(other).status_code}'


def seconds():
    """Medians of five."""
    creates, gets = [], []
    for number in range(5):
        start = time.time()
        url = ask(chip().add(number), size=256)
        creates.append(time.time() - start)
        fetch(url)
        gets.append(time.time() - start - creates[-1])
    return f'create {statistics.median(creates):.2f}, GET {statistics.median(gets):.2f}'


def tables():
    """Bytes with selectors, header without."""
    rows = {'n': 1.5, 't': 'São, "x"'}, {'n': 0.1 + 0.2, 't': None}, {'n': 15.0, 't': ''}, {'n': 1.5e7}
    one = fetch(table(*rows).getDownloadURL('csv', ['n', 't', 'other'])).read()
    two = fetch(table({'a': 1}, {'a': 2, 'b': 3}).getDownloadURL('csv')).readline()
    return f'{one}; without selectors and b in the first row {two}'


def by_index():
    """As getResult() of timeseries.py finds its region."""
    regions, start = ee.FeatureCollection(timeseries.REGIONS), time.time()
    name = ee.Feature(regions.filter(ee.Filter.eq('ADM0_NAME', 'Uruguay')).first()).id().getInfo()
    found = regions.filter(ee.Filter.eq('system:index', name)).aggregate_array('ADM0_NAME').getInfo()
    return f'one like {name!r} finds {found} in {time.time() - start:.1f} s'


def top():
    """Of two images, as they are and sorted the other way round."""
    images = ee.ImageCollection([ee.Image(number).set('time', -number) for number in (1, 2)])
    return [made.mosaic().reduceRegion('first', ee.Geometry.Point(X, Y), 1).values().getInfo()
            for made in (images, images.sort('time'))]


def no_pixel():
    """A region of 10 m between pixel centres, and one at sea."""
    spot, sea = ee.Geometry.Point(-60, -10).buffer(5), ee.Geometry.Rectangle([-30, -30, -29.9, -29.9])
    ones = ee.Image(1).reproject(lst().projection())
    found = {name: ones.reduceRegion(name, spot).values().getInfo() for name in ('max', 'mean', 'count')}
    return f'{found}; sea {lst().reduceRegion("max", sea).getInfo()}'


def fill():
    """Of 10,000 km2 of Amazonia; and what kind of number the band has."""
    lowest = lst().reduceRegion('min', ee.Geometry.Rectangle([-61, -11, -60, -10])).getInfo()
    return f'lowest {lowest}; {np.load(fetch(ask(lst(), "npy"))).dtype}'


def images():
    """NAIP at X, Y: names and bands; the order of MODIS."""
    names, bands = (naip().aggregate_array(name).getInfo() for name in ('system:index', 'bands'))
    times = ee.ImageCollection(timeseries.COLLECTION).aggregate_array('system:time_start').getInfo()
    return (f'{dict(zip(names, map("".join, bands)))}; {len(times)} of MODIS, '
            f'{"" if times == sorted(times) else "not "}in order of time')


def many():
    """Of a computed collection, and of the regions."""
    numbers = ee.FeatureCollection(ee.List.sequence(1, 5001).map(lambda i: ee.Feature(None, {'i': i})))
    regions = ee.FeatureCollection(timeseries.REGIONS)
    lists = {'aggregate_array': numbers.aggregate_array('i'),
             'reduceColumns': numbers.reduceColumns('toList', ['i']).get('list'),
             'all regions': regions.aggregate_array('ADM2_CODE')}
    found = {name: outcome(lambda: len(value.getInfo())) for name, value in lists.items()}
    return {**found, 'table': outcome(lambda: numbers.getDownloadURL('csv', ['i']))}


def refusals():
    """Status and words."""
    missing = ee.FeatureCollection('projects/earthengine-public/assets/no_such_table')
    mapped = table({'x': 1}).map(lambda feature: feature.set('y', feature.getNumber('z').add(1)))
    square = ee.Geometry.Rectangle([-61, -11, -60, -10])
    return '; '.join(f'{name}: {outcome(make)}' for name, make in {
        'no image': lambda: ask(naip().limit(0).mosaic().select(chips.BANDS)),
        'no such band': lambda: ask(chip().select('X')),
        'too big': lambda: ask(chip(), size=4500),
        'missing asset': lambda: missing.getDownloadURL('csv', ['a']),
        'missing asset, getInfo()': lambda: missing.size().getInfo(),
        'too many pixels': lambda: lst().reduceRegion('max', square, maxPixels=9).getInfo(),
        'null in map()': lambda: mapped.getDownloadURL('csv', ['y'])}.items())


def countries():
    """Of timeseries.py: regions of each."""
    found = ee.FeatureCollection(timeseries.REGIONS).filter(
        ee.Filter.inList('ADM0_NAME', timeseries.COUNTRIES)).aggregate_histogram('ADM0_NAME').getInfo()
    return f'{found}, in all {sum(found.values())}; missing {[*{*timeseries.COUNTRIES} - {*found}]}'


def points():
    """Of chips.py as it is, drawn twice."""
    start = time.time()
    one, two = chips.getRequests(), chips.getRequests()
    return (f'{dict(Counter(item["ECO_NAME"] for item in one))} in {(time.time() - start) / 2:.0f} s, '
            f'{"the same" if one == two else "others"} the second time')


JOBS = {f'chips.py {form}': lambda form=form, spacing=spacing: run(
            'chips.py', check_chips, FORMAT=form, POINTS_PER_ECOREGION=2, SPACING=spacing)
        for form, spacing in [('png', 100), ('jpg', 1000), ('tif', 1000), ('npy', 1000)]}
JOBS['timeseries.py'] = lambda: run(
    'timeseries.py', check_series, COUNTRIES=['Ecuador', 'Suriname', 'Uruguay'], START=recently())
QUESTIONS = {
    'does a GET need a token': tokens, 'headers of the GETs': headers, 'modes of PNG and JPEG': modes,
    'an id fetched twice': twice, 'seconds for a chip': seconds, 'csv': tables,
    'a filter on system:index': by_index, 'mosaic() of 1 and 2 shows': top,
    'reduceRegion() of no pixel': no_pixel, 'fill of LST': fill, 'images': images,
    'more than 5,000 elements': many, 'refusals': refusals, 'countries': countries, 'points': points}


def main():
    """Prints a line for each job and question, whatever becomes of the others."""
    warnings.simplefilter('ignore')
    credentials = ee.data.get_persistent_credentials()
    ee.Initialize(credentials, ee.data.HIGH_VOLUME_API_BASE_URL)
    ee.data.setDeadline(330000)
    SECRETS.append((rf"\b{re.escape(credentials.quota_project_id or 'no project')}\b", '...'))
    print(f'{datetime.date.today()}, earthengine-api {ee.__version__}, Python {sys.version.split()[0]}')
    words, failed = sys.argv[1:], False
    for name, function in {**JOBS, **QUESTIONS}.items():
        if words and not any(word in name for word in words):
            continue
        try:
            line = f'{name}: {function()}'
        except (Exception, SystemExit) as error:
            failed |= name in JOBS
            line = f'{name}: {"FAILED" if name in JOBS else "no answer"}, {type(error).__name__}: {error}'
        for pattern, shown in SECRETS:
            line = re.sub(pattern, shown, line)
        print(' '.join(line.split())[:2000], flush=True)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
