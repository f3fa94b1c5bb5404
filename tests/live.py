"""Tries the scripts on the real Earth Engine, and asks it what no source says.

    python tests/live.py

runs copies of chips.py and timeseries.py with a few chips in each format and 3 regions, looks at what
came, and then asks the service small questions: those that tests/standin answers by a guess. It needs
some minutes, and a sign-in as for the scripts. Each line ends with what it took; what it cost, in
EECU-seconds, is shown by Cloud Monitoring under the workload tag live. What it prints names no token, id
or project: please paste it into an issue. Words after the command choose among its lines:

    python tests/live.py csv expired
    python tests/live.py aggregations    only if named, as it may cost 0.2 EECU-hours

How an expired id is answered is known from two hours after a run on: run it again then. The exit status is
1 if a script failed or saved something wrong, whatever the answers are.
"""
import csv
import datetime
import io
import json
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections import Counter
from pathlib import Path

import ee
import httplib2
import numpy as np
import pyproj
import rasterio
import requests
from PIL import Image

from conftest import HERE, Folder

sys.path.insert(0, str(HERE.parent))
import chips  # noqa: E402
import timeseries  # noqa: E402

TAG = 'live'
SECRETS = [(r'(thumbnails|tables|projects)/[\w-]+', r'\1/...'), (r'ya29\.[\w.-]+', '...'),
           (re.escape(str(Path.home())), '~')]
X, Y = -104.9, 39.5  # degrees, in Colorado
END = '2100-01-01'
EARLIER = Path(ee.oauth.get_credentials_path()).with_name('live-test-url')  # of an earlier run's chip


# All requests of this program, but not those of the copies of the scripts, which run by themselves

class Meter:
    """Makes requests and counts them."""

    def __init__(self):
        self.session = requests.Session()
        self.session.auth = lambda request: request  # no ~/.netrc
        self.requests = self.bytes = 0
        self.answer = None  # the last one
        self.credentials = self.project = None

    def request(self, uri, method='GET', body=None, headers=None, **_):
        """As httplib2 would; returns (httplib2.Response, bytes)."""
        self.answer = self.session.request(method, uri, data=body, headers=headers, timeout=330)
        self.requests += 1
        self.bytes += len(self.answer.content)
        return httplib2.Response({**self.answer.headers, 'status': self.answer.status_code}), (
            self.answer.content)

    def took(self, before, seconds):
        """What it took since then, in words."""
        number, size = self.requests - before[0], self.bytes - before[1]
        return f'{number} requests, {size / 1000:.1f} kB, {seconds:.1f} s'


meter = Meter()


def sign_in():
    """Starts Earth Engine as the scripts do, but for the transport and the workload tag."""
    meter.credentials, meter.project = chips.sign_in(), chips.project_id()
    SECRETS.append((rf'\b{re.escape(meter.project or "no project")}\b', '...'))
    ee.data.setMaxRetries(0)
    ee.Initialize(meter.credentials, ee.data.HIGH_VOLUME_API_BASE_URL, project=meter.project,
                  http_transport=types.SimpleNamespace(request=meter.request))
    ee.data.setDefaultWorkloadTag(TAG)


# The scripts: run() and what it calls return what was found, or raise

def run(script, check, **constants):
    """Runs a copy of a script twice, and check() on what it saved. The copy is named after TAG, as
    its requests have the name as their workload tag."""
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path), None).edit(script, PROCESSES=8, **constants)
        folder.replace('timeseries.py', 'enumerate(rows)', 'enumerate(rows[::len(rows) // 3][:3])')
        (folder.path / script).rename(folder.path / f'{TAG}.py')
        start, command = time.time(), [sys.executable, f'{TAG}.py']
        first = subprocess.run(command, cwd=path, capture_output=True, text=True)
        seconds = time.time() - start
        assert first.returncode == 0, first.stdout + first.stderr
        name = script.removesuffix('.py')
        files = folder.files(name)
        index = folder.table(f'{name}/{sys.modules[name].INDEX}')
        assert len(files) == len(index) + 1 and {row['file'] for row in index} < set(files)
        found = check(index, files)
        retries = sum(row['outcome'] == 'retry' for row in folder.log(name))
        # again with no way to the service, so nothing can be asked
        closed = dict.fromkeys(['HTTPS_PROXY', 'https_proxy'], 'http://127.0.0.1:9')
        again = subprocess.run(command, cwd=path, capture_output=True, env={**os.environ, **closed})
        assert again.returncode == 0 and folder.files(name) == files, 'another run changed something'
        said = [line for line in first.stderr.splitlines() if 'arning' in line or 'restricted' in line]
        size = sum(map(len, files.values()))
        return ' '.join([f'{len(index)} in {seconds:.0f} s: {found}', *said, f'({2 * len(index)} requests, '
                         f'{retries} retries, and some 10 requests at the start; {size / 1000:.1f} kB)'])


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
                grid = [1, 0, round(x - 128), 0, -1, round(y + 128)]
                assert image.crs.to_string() == crs and image.shape == (256, 256), image.profile
                assert [*image.transform[:6]] == grid, (image.transform, x, y)
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
        dates, values, pixels = zip(*lines)
        assert header == ['date', timeseries.BAND, 'pixels'] and len(lines) == images, (header, lines, images)
        assert list(dates) == sorted({*dates}) and start <= dates[0], dates
        assert all(-90 < float(value) < 90 for value in values if value), values
        assert all((int(count) > 0) >= bool(value) for value, count in zip(values, pixels)), lines
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
    grid = chips.grid(X, Y, size, size, 1)
    if form in ('png', 'jpg'):
        return image.getThumbURL({**grid, 'format': form, 'min': 0, 'max': 255})
    return image.getDownloadURL({**grid, 'format': {'tif': 'GEO_TIFF', 'npy': 'NPY'}[form]})


def get(url):
    """The answer to a GET."""
    meter.request(url)
    return meter.answer


def fetch(url):
    """The bytes behind a URL."""
    answer = get(url)
    assert answer.ok, told(answer)
    return answer.content


def table(*rows):
    """A collection of dicts."""
    return ee.FeatureCollection([ee.Feature(None, row) for row in rows])


def told(answer):
    """Status of an error, what kind of body it has, and its words."""
    kind = answer.headers.get('Content-Type', 'no type').partition(';')[0]
    try:
        return f'{answer.status_code} ({kind}) "{answer.json()["error"]["message"]}"'
    except (ValueError, KeyError, TypeError):
        return f'{answer.status_code} ({kind}) {answer.content!r:.300}'


def outcome(make):
    """At which step a request is refused, and how; make() returns a URL to get, or what else came."""
    try:
        made = make()
    except ee.EEException as error:  # said by the client itself if there was no such answer
        return f'at the POST {told(meter.answer)}' if not meter.answer.ok else f'by the client "{error}"'
    if isinstance(made, requests.Response):
        return told(made)
    if not str(made).startswith('https:'):
        return f'not at all, {made!r:.60}'
    answer = get(made)
    return 'not at all' if answer.ok else f'at the GET {told(answer)}'


def compute(expression, project, token):
    """The answer to an expression, asked for in the name of a project with a token."""
    headers = {'Content-Type': 'application/json', 'x-goog-user-project': project}
    meter.request(f'{ee.data.HIGH_VOLUME_API_BASE_URL}/v1/projects/{project}/value:compute', 'POST',
                  json.dumps({'expression': expression, 'workloadTag': TAG}),
                  {**headers, 'Authorization': f'Bearer {token}'} if token else headers)
    return meter.answer


ONE = {'result': '0', 'values': {'0': {'constantValue': 1}}}


def other_project():
    """As if PROJECT were misspelt."""
    name = f'no-such-{secrets.token_hex(6)}'
    SECRETS.append((name, 'NO-SUCH-PROJECT'))
    return outcome(lambda: compute(ONE, name, meter.credentials.token))


def expired():
    """An id that never was, and that of an earlier run, if there is one."""
    url = ask(chip())
    other = re.sub('.(?=:get)', lambda last: 'b' if last[0] == 'a' else 'a', url)
    lines = [f'one that never was: {outcome(lambda: other)}']
    if EARLIER.exists():
        hours = (time.time() - EARLIER.stat().st_mtime) / 3600
        lines.append(f'one of {hours:.1f} hours ago: {outcome(EARLIER.read_text)}')
        if hours < 3:
            return '; '.join(lines)  # it is asked for again later
    EARLIER.parent.mkdir(parents=True, exist_ok=True)
    EARLIER.touch(0o600)
    EARLIER.write_text(url)
    return '; '.join(lines)


def framing():
    """For each format whose framing no source tells; and headers of Earth Engine's own."""
    urls = {form: ask(chip(), form) for form in ('png', 'jpg', 'npy')}
    urls['csv'] = table(*[{'a': i} for i in range(99)]).getDownloadURL('csv', ['a'])
    urls['empty csv'] = empty_table()
    names = 'Content-Type', 'Transfer-Encoding', 'Content-Encoding', 'Content-Disposition', 'Cache-Control'
    found = []
    for kind, url in urls.items():
        headers = get(url).headers
        own = [name for name in headers if name.lower().startswith('x-earth')]
        found.append(', '.join([kind] + ['Content-Length'] * ('Content-Length' in headers) + [
            f'{name} {headers[name]}' for name in (*names, *own) if name in headers]))
    return '; '.join(found)


def empty_table():
    """The URL of a table with no row."""
    return table({'a': 1}).filter(ee.Filter.eq('a', 2)).getDownloadURL('csv', ['a', 'b'])


def tables():
    """The bytes of one with selectors, of one with no row; the header of one without selectors."""
    rows = {'n': 1.5, 't': 'São, "x"'}, {'n': 0.1 + 0.2, 't': None}, {'n': 15.0, 't': ''}, {'n': 1.5e7}
    one = fetch(table(*rows).getDownloadURL('csv', ['n', 't', 'other']))
    two = fetch(table({'a': 1}, {'a': 2, 'b': 3}).getDownloadURL('csv')).partition(b'\n')[0]
    return f'{one}; no row {fetch(empty_table())}; without selectors and b in the first row {two}'


def masked():
    """What an array has where it is masked, by type."""
    found = {}
    for kind in 'Uint8', 'Int16', 'Float':
        image = getattr(ee.Image(7), f'to{kind}')().rename('b').updateMask(0)
        found[kind] = np.unique(np.load(io.BytesIO(fetch(ask(image, 'npy'))))['b']).tolist()
    return str(found)


def alpha():
    """Modes of a png and a jpg, asked for by name, by what is masked."""
    west = ee.Image.pixelLonLat().select('longitude').lt(X)
    images = {'whole': chip(), 'partly masked': chip().updateMask(west), 'masked': chip().updateMask(0),
              'one band': chip().select(0), 'one band partly masked': chip().select(0).updateMask(west)}
    return str({name: ' '.join(Image.open(io.BytesIO(fetch(ask(image, form)))).mode for form in ('png', 'jpg'))
                for name, image in images.items()})


def pace():
    """Medians of five."""
    creates, gets = [], []
    for number in range(5):
        start = time.time()
        url = ask(chip().add(number), size=256)
        creates.append(time.time() - start)
        fetch(url)
        gets.append(time.time() - start - creates[-1])
    return f'create {statistics.median(creates):.2f}, GET {statistics.median(gets):.2f}'


def no_pixel():
    """A region of 10 m between pixel centres, and one at sea."""
    spot, sea = ee.Geometry.Point(-60, -10).buffer(5), ee.Geometry.Rectangle([-30, -30, -29.9, -29.9])
    ones = ee.Image(1).reproject(lst().projection())
    found = {name: ones.reduceRegion(name, spot).values().getInfo() for name in ('max', 'mean', 'count')}
    return f'{found}; sea {[lst().reduceRegion(name, sea).getInfo() for name in ("max", "count")]}'


def fill():
    """Of 10,000 km2 of Amazonia; and what kind of number the band has."""
    lowest = lst().reduceRegion('min', ee.Geometry.Rectangle([-61, -11, -60, -10])).getInfo()
    return f'lowest {lowest}; {np.load(io.BytesIO(fetch(ask(lst(), "npy")))).dtype}'


def order():
    """Of MODIS as it is."""
    times = ee.ImageCollection(timeseries.COLLECTION).aggregate_array('system:time_start').getInfo()
    return f'{len(times)} images, {"" if times == sorted(times) else "not "}in order of time'


def no_bands():
    """An image made of no images, as chips.py selects from it, and a band that is in none."""
    return '; '.join(f'{name}: {outcome(make)}' for name, make in {
        'png': lambda: ask(naip().limit(0).mosaic().select(chips.BANDS)),
        'npy': lambda: ask(naip().limit(0).mosaic().select(chips.BANDS), 'npy'),
        'nothing selected': lambda: ask(naip().limit(0).mosaic()),
        'no such band': lambda: ask(chip().select('X'))}.items())


def aggregations():
    """A table as timeseries.py makes it, of an archive over 300,000 km2; only if it is named."""
    region = ee.Geometry.Rectangle([-62, -12, -57, -7])
    series = ee.ImageCollection(timeseries.COLLECTION).map(lambda image: ee.Feature(
        None, image.select(timeseries.BAND).reduceRegion('mean', region, maxPixels=1e9)))
    return outcome(lambda: ee.FeatureCollection(series).getDownloadURL('csv', [timeseries.BAND]))


def deep():
    """The answer to an expression of 3,000 steps, one within the other."""
    values = {'0': ONE['values']['0']}
    for step in range(1, 3000):
        values[str(step)] = {'functionInvocationValue': {
            'functionName': 'Number.abs', 'arguments': {'input': {'valueReference': str(step - 1)}}}}
    return compute({'result': '2999', 'values': values}, meter.project, meter.credentials.token)


def hole():
    """A geometry with no point in it."""
    around = ee.Geometry.Point(X, Y).buffer(100)
    return around.difference(around.buffer(100))


def picture(image, **options):
    """The URL of a picture without the grid of a chip."""
    return image.getThumbURL({'dimensions': 64, 'format': 'png', **options})


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
JOBS['timeseries.py'] = lambda: run('timeseries.py', check_series, PIXELS=True,
                                    COUNTRIES=['Ecuador', 'Suriname', 'Uruguay'], START=recently())
QUESTIONS = {
    'ids that are expired': expired, 'framing of results': framing, 'csv': tables, 'masked in npy': masked,
    'alpha': alpha, 'no bands is told': no_bands, 'a project that is not there': other_project,
    'seconds for a chip': pace, 'reduceRegion() of no pixel': no_pixel, 'fill of LST': fill,
    'order of the archive': order, 'countries': countries, 'points': points}
IF_NAMED = {'aggregations at once': aggregations}
# What is refused in words that the stand-in guesses, by the names that they have in its sentences.py
GUESSES = {
    'band_numbers': lambda: ee.Image([1, 2]).add(ee.Image([1, 2, 3])).getInfo(),
    'rename_number': lambda: ee.Image(1).rename(['a', 'b']).getInfo(),
    'reduce_no_bands': lambda: ee.ImageCollection([]).mosaic().reduceRegion(
        'max', ee.Geometry.Point(X, Y), 1).getInfo(),
    'homogeneous_types': lambda: ee.ImageCollection([ee.Image(1), ee.Image([1, 2])]).max().getInfo(),
    'visualize': lambda: ee.Image([1, 2]).visualize(['constant', 'constant_1']).getInfo(),
    'picture_bands': lambda: picture(ee.Image([1, 2]), region=ee.Geometry.Point(X, Y).buffer(100)),
    'unauthenticated': lambda: compute(ONE, meter.project, 'ya29.no-token'),
    'no_token': lambda: compute(ONE, meter.project, ''),
    'type': lambda: ee.Image(ee.FeatureCollection([])).select(0).getInfo(),
    'crs': lambda: ee.Projection('EPSG:999999').nominalScale().getInfo(),
    'unbounded_picture': lambda: picture(ee.Image(1), min=0, max=1),
    'empty_region': lambda: picture(ee.Image(1).clip(hole()), min=0, max=1),
    'selectors': lambda: table({'a': 1}).reduceColumns(ee.Reducer.toList(2), ['a']).getInfo(),
    'class_band': lambda: ee.Image(1.5).stratifiedSample(
        1, region=ee.Geometry.Point(X, Y).buffer(100), scale=10).getInfo(),
    'deep': deep}
QUESTIONS.update({f'guess {name}': lambda make=make: outcome(make) for name, make in GUESSES.items()})


def main():
    """Prints a line for each job and question, whatever becomes of the others."""
    warnings.simplefilter('ignore')
    sign_in()
    print(f'{datetime.date.today()}, earthengine-api {ee.__version__}, Python {sys.version.split()[0]}')
    words, failed, begin = sys.argv[1:], False, time.time()
    for name, function in {**JOBS, **QUESTIONS, **(IF_NAMED if words else {})}.items():
        if words and not any(word in name for word in words):
            continue
        before, start = (meter.requests, meter.bytes), time.time()
        try:
            line = f'{name}: {function()}'
        except (Exception, SystemExit) as error:
            failed |= name in JOBS
            line = f'{name}: {"FAILED" if name in JOBS else "no answer"}, {type(error).__name__}: {error}'
        if name not in JOBS:
            line = f'{line[:1900]} ({meter.took(before, time.time() - start)})'
        for pattern, shown in SECRETS:
            line = re.sub(pattern, shown, line)
        print(' '.join(line.split())[:2000], flush=True)
    print(f'in all: {meter.took((0, 0), time.time() - begin)}, and those of the scripts. Cloud Monitoring shows '
          f'the EECU-seconds under the workload tag {TAG}.')
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
