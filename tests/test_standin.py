"""The commands of the README that run a script on the stand-in, as typed; and what a script may call."""
import io
import json
import math
import re

import numpy as np
import pytest
import rasterio
import tifffile

import sentences
from conftest import DEFAULTS, HERE, LIMIT, hasten
from service import SCOPES


def test_a_script_on_the_stand_in(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=4, SIZE=16)
    printed = folder.run(str(HERE / 'standin'), 'chips.py')
    assert '16 of 16' in printed and '16 results for 16 items' in printed
    assert '0 failed handshakes' in printed and 'faults: none' in printed
    assert len(folder.files('chips')) == 17


def test_a_script_on_a_bad_day(folder):
    hasten(folder).edit('timeseries.py', COUNTRIES=['Suriname'], START='2020-01-01', END='2020-03-01', DEADLINE=2)
    printed = folder.run(str(HERE / 'standin'), '--faults', '0.2', '--stall', '3', '--report', 'counts.json',
                         'timeseries.py')
    assert len(folder.files('timeseries')) == 7 and '6 of 6' in printed
    assert json.loads((folder.path / 'counts.json').read_text())['faults']


def test_the_exit_status_is_that_of_the_script(folder):
    folder.edit('chips.py', FORMAT='gif').run(str(HERE / 'standin'), 'chips.py', status=1)
    assert '--fault-kinds' in folder.run(str(HERE / 'standin'), '--help')


# what a user's own getResult() may well call, and what it must give: images, at a place
IMAGES = {
    "ee.Image([8, 2]).rename(['N', 'R']).normalizedDifference(['N', 'R'])": 0.6,
    "ee.Image([8, 2]).expression('(a - b(1)) / (a + b(1)) + (a > 9)', {'a': ee.Image(8)})": 0.6,
    "ee.Image(7).divide(2).add(1).subtract(0.5).multiply(2).sqrt().pow(4)": 64,
    "ee.Image(300).toByte()": 255, "ee.Image(5).clamp(0, 3)": 3, "ee.Image(-2.5).abs().floor()": 2,
    "ee.Image(5).updateMask(ee.Image(1).lt(0)).unmask(9)": 9, "ee.Image(0).selfMask()": None,
    "ee.Image(5).where(ee.Image(1).eq(1).And(ee.Image(0).Not()), 6)": 6,
    "ee.Image(20).remap([10, 20], [1, 2])": 2, "ee.Image(30).remap([10, 20], [1, 2])": None,
    "ee.Image(5).addBands(ee.Image(6)).select(1)": 6, "ee.Image.cat([5, 6]).reduce('sum')": 11,
    "ee.Image(5).clip(ee.Geometry.BBox(0, 0, 1, 1))": None, "ee.Image(5).rightShift(1).mask()": 1,
    "ee.Image(1).visualize(min=0, max=2, palette=['black', 'ff8000']).select(1)": 64,
    **{f"ee.ImageCollection([1, 2, 2, 7]).{call}": value for call, value in {
        'min()': 1, 'max()': 7, 'mean()': 3, 'median()': 2, 'sum()': 12, 'count()': 4, 'mode()': 2,
        "reduce('stdDev')": 2.345208, "reduce(ee.Reducer.percentile([50]))": 2,
        'mosaic()': 7, 'toBands().select(0)': 1}.items()},
}
VALUES = {
    "ee.Date('2020-01-31').advance(1, 'month').format('DDD, d MMM YYYY')": '060, 29 Feb 2020',
    "ee.Date.fromYMD(2020, 3, 1).difference('2020-02-28', 'day')": 2,
    "ee.Number(7).mod(4).add(1).max(2).lt(5)": 1, "ee.Number(7.5).round().format('%03d')": '008',
    "ee.List([3, 1, 2]).sort().reverse().slice(0, 2).cat([1]).distinct()": [3, 2, 1],
    "ee.List.sequence(1, 3).map(lambda i: ee.Number(i).multiply(2)).reduce('sum')": 12,
    "ee.Dictionary({'a': 1}).set('b', 2).combine({'c': 3}).values()": [1, 2, 3],
    "ee.String('a_b').cat('_c').split('_').get(-1)": 'c',
    "ee.Algorithms.If(ee.List([1]).contains(2), 'yes', 'no')": 'no',
    "ee.Geometry.Point(9, 45).buffer(1000).area(1).divide(1e6).multiply(10).round()": 31,
    "ee.Geometry.BBox(0, 0, 2, 2).intersection(ee.Geometry.BBox(1, 1, 3, 3), 1).bounds()"
    ".coordinates()": [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]],
    "ee.Image(1).clipToBoundsAndScale(ee.Geometry.BBox(0, 0, 2, 1), maxDimension=40)"
    ".reduceRegion('count', ee.Geometry.BBox(-1, -1, 3, 3)).get('constant')": 800,
    "ee.ImageCollection('MODIS/061/MOD11A2').filter(ee.Filter.calendarRange(6, 8, 'month'))"
    ".filter(ee.Filter.calendarRange(2020, 2020, 'year')).first().date().format('MM-dd')": '06-01',
    **{"ee.FeatureCollection([ee.Feature(None, {'n': i}) for i in (4, 6, 6)])." + call: value
       for call, value in {
        "aggregate_mean('n')": 5.333333, "aggregate_histogram('n')": {'4': 1, '6': 2},
        "filter(ee.Filter.Or(ee.Filter.gt('n', 9), ee.Filter.neq('n', 6))).size()": 1,
        "map(lambda f: f.set('m', f.getNumber('n').add(1))).aggregate_array('m')": [5, 7, 7],
        "map(lambda f: ee.FeatureCollection([f, f])).flatten().size()": 6,
        "sort('n', False).first().toDictionary()": {'n': 6},
        "reduceColumns(ee.Reducer.minMax(), ['n'])": {'min': 4, 'max': 6}}.items()},
}
ASK = '''
import json, ee
ee.Initialize(url=ee.data.HIGH_VOLUME_API_BASE_URL)
images, values = json.load(open('ask.json'))
point = ee.Geometry.Point(9, 45)
ask = [ee.Image(eval(text)).select([0], ['it']).reduceRegion('first', point, 10)
       for text in images]
print(json.dumps(ee.List(ask + [eval(text) for text in values]).getInfo()))
'''


def test_what_a_script_may_call(folder):
    (folder.path / 'ask.json').write_text(json.dumps([list(IMAGES), list(VALUES)]))
    (folder.path / 'ask.py').write_text(ASK)
    *_, printed = folder.run('ask.py').splitlines()
    expected = [{'it': value} for value in IMAGES.values()] + list(VALUES.values())
    found = json.loads(printed, parse_float=lambda text: round(float(text), 6))
    assert dict(zip([*IMAGES, *VALUES], found)) == dict(zip([*IMAGES, *VALUES], expected))


# what the stand-in says and sends, asked for by the real client

CLIENT = '''
import io, json, sys, warnings, ee, google.auth, numpy, requests
warnings.simplefilter('ignore')
ee.data.setMaxRetries(0)
def start():
    global place, none, lst
    ee.Initialize(url=ee.data.HIGH_VOLUME_API_BASE_URL)
    lst = ee.ImageCollection('MODIS/061/MOD11A2').select('LST_Day_1km')
    place, none = ee.Geometry.Point(-105, 40), lst.filterDate('1990-01-01', '1991-01-01').mosaic()
def outcome(make):
    """The JSON or length of what came, or status, place and words of the refusal."""
    try:
        made = make()
    except (ee.EEException, google.auth.exceptions.GoogleAuthError) as error:
        return [getattr(error.__context__, 'status_code', None), 'POST', str(error)]
    if not str(made).startswith('https:'):
        return made
    answer = requests.get(made)
    return len(answer.content) if answer.ok else [
        answer.status_code, 'GET', answer.json()['error']['message']]
grid = {'crs': 'EPSG:32613', 'crs_transform': [1, 0, 500000, 0, -1, 4400000], 'dimensions': [300, 20]}
picture = {**grid, 'format': 'png', 'min': 0, 'max': 255}
'''


@pytest.fixture
def ask(folder):
    """Runs a piece of Python with the real client; returns the JSON that it prints."""
    def run(code, begin='start()'):
        (folder.path / 'ask.py').write_text(f'{CLIENT}\n{begin}\nprint(json.dumps({code}))')
        out, err = (child := folder.start('ask.py')).communicate(timeout=LIMIT)
        assert child.returncode == 0, err
        return json.loads(out)
    return run


def test_no_bands_in_the_words_of_the_service(ask, standin):
    asked = ('[outcome(lambda: none.select("R").getThumbURL(picture)), '
             'outcome(lambda: none.getThumbURL(picture)), '
             'outcome(lambda: none.select("R").bandNames().getInfo()), '
             'outcome(lambda: none.add(1).bandNames().getInfo()), '
             'outcome(lambda: ee.Image(1).select("R").getThumbURL(picture))]')
    link = ' See https://developers.google.com/earth-engine/guides/debugging#no-bands'
    select = "Image.select: Band pattern 'R' was applied to an Image with no bands."
    bare, add = 'Expression evaluates to an image with no bands.', (
        'Image.add: If one image has no bands, the other must also have no bands. Got 0 and 1.')
    other = "Image.select: Band pattern 'R' did not match any bands. Available bands: "
    rest = [[400, 'POST', add], [400, 'GET', other + '[constant]']]
    assert ask(asked) == [[400, 'GET', select + link], [400, 'GET', bare + link],
                          [400, 'POST', select + link], *rest]
    standin.set(behaviour='no_bands_link=false')
    assert ask(asked) == [[400, 'GET', select], [400, 'GET', bare], [400, 'POST', select], *rest]
    standin.set(behaviour='no_bands=bare,no_bands_link=false')
    assert ask(asked) == [[400, 'GET', bare], [400, 'GET', bare], [], *rest]
    standin.set(behaviour='no_bands=old')
    assert ask(asked)[0] == [400, 'GET', other + '[]']


SERIES = '''[outcome(lambda: ee.FeatureCollection(make(lst).map(lambda image: ee.Feature(
    None, image.reduceRegion('max', place, 1000)))).getDownloadURL('csv', ['LST_Day_1km']))
    for days in (320, 321) for make in (
        lambda images: images.filterDate('2010-01-01', ee.Date('2010-01-01').advance(days, 'day')),
        lambda images: images.map(lambda image: image.add(1).copyProperties(
            image, ['system:time_start'])).filterDate(
                '2010-01-01', ee.Date('2010-01-01').advance(days, 'day')))]'''


@pytest.mark.parametrize('at,status,text', [
    ('get', 400, 'User memory limit exceeded.'), ('create', 429, 'Too many concurrent aggregations.'),
    ('create', 503, 'Quota exceeded: Too many concurrent aggregations.')])
def test_a_table_of_more_rows_than_images_is_too_much(ask, standin, at, status, text):
    """40 rows are fine and 41 are not, whichever comes first, the dates or another map()."""
    standin.set(behaviour={'max_images': 40, 'max_images_at': at, 'max_images_status': status,
                           'max_images_text': text})
    *fine, one, two = ask(SERIES)
    assert all(type(size) is int for size in fine)
    assert one == two == [status, {'get': 'GET', 'create': 'POST'}[at], text]


def test_restricted_mode(ask, standin):
    """Three requests at once where two may be; and each, whatever its kind."""
    words = ('Too Many Requests: Exceeded Earth Engine concurrency limit. Your project is in Restricted '
             'Mode.')
    standin.set(restricted_concurrency=2, latency='create=1')
    begin = 'from concurrent.futures import ThreadPoolExecutor as Pool\nstart()'
    found = ask('[*Pool(3).map(lambda n: outcome(lambda: len(ee.Image(n).getThumbURL(picture))), '
                'range(3))]', begin)
    assert found.count([429, 'POST', words]) == 1 and sum(type(one) is int for one in found) == 2
    assert standin.counts()['throttled'] == 1
    standin.set(**DEFAULTS)
    standin.set(faults='create=1,compute=1', fault_kinds='restricted')
    assert ask('[outcome(lambda: ee.Number(1).getInfo()), outcome(lambda: ee.Image(1).getThumbURL('
               'picture))]') == [[429, 'POST', words]] * 2


IMAGES_OF_TYPES = '''{name: requests.get(image.updateMask(ee.Image.pixelLonLat().select(0).lt(-104.998))
    .getDownloadURL({**grid, 'format': form})).content.hex() for form in ('GEO_TIFF', 'NPY')
    for name, image in {'uint8 ' + form: ee.Image(7).toByte(), 'int16 ' + form: ee.Image(7).toInt16(),
    'float32 ' + form: ee.Image(7).toFloat(), 'float64 ' + form: ee.Image([7.5, 2.5])}.items()}'''


def test_geotiffs_as_the_service_writes_them(ask, standin):
    standin.set(behaviour='npy_masked=minimum')
    lowest = {'uint8': 0, 'int16': -32768, 'float32': -math.inf, 'float64': -math.inf}
    found = {name: bytes.fromhex(body) for name, body in ask(IMAGES_OF_TYPES).items()}
    for kind, blank in lowest.items():
        body = found[f'{kind} GEO_TIFF']
        with rasterio.open(io.BytesIO(body)) as image:
            assert image.dtypes[0] == kind and image.nodata == blank and image.crs.to_epsg() == 32613
            assert image.transform == rasterio.Affine(1, 0, 500000, 0, -1, 4400000)
            assert image.shape == (20, 300) and image.read(1)[0, -1] == blank
            assert image.read(1)[0, 0] == 7 + (kind == 'float64') / 2
            assert not any(image.descriptions) and image.block_shapes[0] == (256, 256)
        with tifffile.TiffFile(io.BytesIO(body)) as file:
            tags = file.pages[0].tags
            assert body[:2] == b'MM' and tags['Compression'].value == 32946 and 34264 in tags
            assert not {33550, 33922} & {tag.code for tag in tags}  # pixel scale and tie point
        array = np.load(io.BytesIO(found[f'{kind} NPY']))
        assert array[0, -1][0] == blank
    standin.set(**DEFAULTS)
    array = np.load(io.BytesIO(bytes.fromhex(ask(IMAGES_OF_TYPES)['int16 NPY'])))
    assert array[0, -1][0] == 0 and array[0, 0][0] == 7


def test_unmask_keeps_the_footprint(ask):
    """A mosaic's is that of its images together; here they are of one tile, at -105.03, 40.03."""
    assert ask('''ee.List([image.reduceRegion('first', ee.Geometry.Point(point), 10).values()
        for image in [made for naip in [ee.ImageCollection('USDA/NAIP/DOQQ').filterDate('2021', '2022')
            .filterBounds(ee.Geometry.Point(-105.03, 40.03)).select('R')]
            for masked in [naip.mosaic().updateMask(0), naip.first().updateMask(0)]
            for made in [masked.unmask(9), masked.unmask(9, False), masked.unmask(ee.Image(8), True)]]
        for point in [[-105.03, 40.03], [-104, 40.03]]]).getInfo()''') == 2 * [
            [9], [None], [9], [9], [8], [None]]


def test_workload_tags(ask, standin):
    asked = '''[outcome(lambda: ee.Number(1).getInfo()), type(ee.Image(1).getThumbURL(picture)).__name__,
        type(ee.FeatureCollection([]).getDownloadURL('csv', ['a'])).__name__,
        type(ee.Image(1).getDownloadURL(dict(grid))).__name__]'''
    assert ask(asked) == [1, 'str', 'str', 'str'] and not standin.counts()['workload_tags']
    assert ask(asked, "start()\nee.data.setDefaultWorkloadTag('chips')") == [1, 'str', 'str', 'str']
    assert standin.counts()['workload_tags'] == {'chips': 4}
    # the client refuses such a tag itself, so it is put in its place
    status, _, words = ask('outcome(lambda: ee.Image(1).getThumbURL(picture))',
                           "start()\nee.data._get_state().workload_tag._tag = 'Chips'")
    assert status == 400 and 'Invalid tag, "Chips"' in words


@pytest.mark.parametrize('account', ['service', 'workload'])
def test_accounts_of_servers(ask, standin, account):
    standin.set(account=account)
    begin = '''credentials, project = google.auth.default(scopes={})
ee.Initialize(credentials, ee.data.HIGH_VOLUME_API_BASE_URL, project=project)'''
    assert ask('[project, ee.Number(1).getInfo()]', begin.format('ee.oauth.SCOPES')) == ['standin-project', 1]
    counts = standin.counts()
    assert counts['scopes'] == sorted({*SCOPES, 'https://www.googleapis.com/auth/drive',
                                       'https://www.googleapis.com/auth/devstorage.full_control'})
    assert not counts['refused_connections']
    words = ask('failed', '''failed = ''
try:
    google.auth.default()[0].refresh(google.auth.transport.requests.Request())
except google.auth.exceptions.GoogleAuthError as error:
    failed = str(error)'''.replace('failed', 'import google.auth.transport.requests\nfailed', 1))
    assert 'invalid_scope' in words and 'Invalid OAuth scope or ID token audience provided.' in words
    _, _, words = ask('outcome(ee.Initialize)', '')  # which asks for none
    assert {'service': 'Please authorize access', 'workload': 'invalid_scope'}[account] in words


@pytest.mark.parametrize('status', [404, 403])
def test_only_its_own_project_is_there(ask, standin, status):
    standin.set(behaviour={'other_project_status': status})
    begin = "ee.data.setMaxRetries(0)\nmake = lambda: ee.Initialize(project='mine')"
    assert ask('outcome(make)', begin) == [status, 'POST', "Project 'projects/mine' not found or deleted."]
    standin.set(project='mine', credentials_project='another')
    assert ask('outcome(make)', begin) is None


def test_the_command_says_that_it_knows_one_project(folder):
    (folder.path / 'nothing.py').touch()
    printed = folder.run(str(HERE / 'standin'), 'nothing.py')
    assert re.search('(?m)^standin: .*leave PROJECT as None', printed)


def test_framing_is_as_recorded_or_as_a_switch_says(ask, standin):
    asked = '''[sorted({'Content-Length', 'Transfer-Encoding'} & {*requests.get(url).headers})[0]
        for url in [ee.data.HIGH_VOLUME_API_BASE_URL + '/$discovery/rest', ee.Image(1).getThumbURL(picture),
        ee.FeatureCollection([]).getDownloadURL('csv', ['a'])] + [ee.Image(1).getDownloadURL(
            {**grid, 'format': form}) for form in ('NPY', 'GEO_TIFF', 'ZIPPED_GEO_TIFF')]]'''
    length, chunks = ['Content-Length'], ['Transfer-Encoding']
    assert ask(asked) == chunks + 5 * length
    standin.set(behaviour='json_framing=length,result_framing=chunked')
    assert ask(asked) == length + 3 * chunks + 2 * length


FAULTY = '''
def faulty(make):
    """What requests made of a fault: its error, or status, length and end of the address."""
    try:
        answer = make()
        size = 0
        for part in answer.iter_content(1 << 20):
            size += len(part)
            if size > 9 << 20:
                break
        return [answer.status_code, size, answer.url[-9:]]
    except Exception as error:
        return type(error).__name__
start()
url = ee.Image(1).getThumbURL(picture)
post = ee.data.HIGH_VOLUME_API_BASE_URL + '/v1/projects/standin-project/thumbnails'
'''


@pytest.mark.parametrize('kind,found', [
    ('no-error', [503, 2, 'getPixels']), ('braces', [200, 2, 'getPixels']),
    ('no-message', [503, None, 'getPixels']), ('escapes', [503, None, 'getPixels']),
    ('busy503', [503, None, 'getPixels']), ('quota-aggregations', [400, None, 'getPixels']),
    ('huge', [200, None, 'getPixels']), ('bad-chunk', 'ValueError'), ('bad-redirect', 'ValueError'),
    ('redirect307', [502, None, '.0.0.1:9/']), ('redirect308', [404, None, 'elsewhere'])],
    ids=lambda value: value if type(value) is str else str(value[0]))
def test_faults_by_name(ask, standin, kind, found):
    """As requests sees them; a size of None is any."""
    posted = 'redirect3' in kind  # after the request for the URL
    standin.set(faults_in_turn=f'create=- {kind}' if posted else f'pixels={kind}')
    came = ask('faulty(lambda: {})'.format('requests.post(post, json={})' if posted else 'requests.get(url, stream=True)'),
               FAULTY)
    assert came == found or type(found) is list and (came[0], came[2]) == (found[0], found[2]), came


def test_a_proxy_that_wants_a_password(ask, standin):
    standin.set(proxy_refuses=1.0)
    words = ask('failed', '''failed = ''
try:
    start()
except Exception as error:
    failed = str(error)''')
    assert '407' in words and standin.counts()['refused_by_proxy']


def test_all_sentences_are_in_the_table():
    """No module has an error of its own, each has a mark, and what has a source says which."""
    for path in (HERE / 'standin').glob('*.py'):
        assert not re.findall(r'''(?:EEError\(|error\(\d+, )f?['"](?!['"])''', path.read_text()), path
    assert {row.mark for row in sentences.SENTENCES} == {'RECORDED', 'DOCUMENTED', 'GUESS', 'OWN'}
    assert all(row.source for row in sentences.SENTENCES if row.mark in ('RECORDED', 'DOCUMENTED'))
    assert len({row.name for row in sentences.SENTENCES}) == len(sentences.SENTENCES)
    used = ''.join(path.read_text() for path in (HERE / 'standin').glob('*.py'))
    for row in sentences.SENTENCES:
        said = re.search(rf"say(_of_caller)?\('{row.name}'", used)
        switch = row.name in ('memory', 'timed_out')  # what max_images_text and broken_text may be
        assert bool(said) == (row.sent and not switch), row.name
