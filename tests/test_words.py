"""The service in the words that were recorded of it, and in those it may use as well: the same results."""
import ast
import functools
import io
import re
import time

import ee
import numpy as np
import pytest
import rasterio
from PIL import Image

import sentences
from behaviour import BEHAVIOUR
from conftest import DEFAULTS, HERE, LIMIT, Folder, hasten, said
from test_chips import chips, write_points
from test_faults import outcomes, own_result

FAR = (10.5, 50.5), (10.6, 50.5)  # where NAIP has no image
NEAR = (-105.24, 40.03), (-105.34, 40.03)
HEAVY = dict(COUNTRIES=['Uruguay'], START='2018-01-01', END='2021-01-01')  # 138 images
MEMORY, LATE = 'User memory limit exceeded.', 'Computation timed out.'
CROWD, QUOTA = 'Too many concurrent aggregations.', 'Quota exceeded: Too many concurrent aggregations.'


def ready(folder, script, **constants):
    """A folder with these constants in which tries follow each other quickly."""
    return hasten(folder).edit(script, **constants)


def creates(standin):
    """How many downloads were asked for, whatever the answer."""
    return sum(standin.counts()['requests']['create'].values())


# ---------------------------------------------------------------- no image

@pytest.mark.parametrize('words', ['recorded', 'old', 'bare'])
def test_a_place_without_an_image_has_nothing(folder, standin, words):
    """At create or at the GET, with a link behind it or without; asked for once, and never again."""
    write_points(folder, *NEAR, *FAR).edit('chips.py', SIZE=8)
    for eager, link, form in (False, True, 'png'), (True, False, 'tif'), (True, True, 'png'):
        standin.set(eager=eager, behaviour={'no_bands': words, 'no_bands_link': link})
        standin.reset()
        output = f'{form} {eager}'
        told = said(folder.edit('chips.py', FORMAT=form, OUTPUT=output).run('chips.py'))
        assert told[-2:] == [
            f'2 of 4 are in {output}, listed in chips.csv.',
            f'2 nothing: no image with R, G, B between 2015-01-01 and 2025-01-01 (2.{form}, 3.{form})']
        assert creates(standin) == 4
        assert {ends[-1] for ends in outcomes(folder, output).values()} == {'done', 'nothing'}
    folder.run('chips.py')
    assert creates(standin) == 4


def test_a_band_that_an_image_lacks_is_a_failure(folder, standin):
    """The service's words for it look much like those for no image at all."""
    write_points(folder, NEAR[0], FAR[0]).edit('chips.py', SIZE=8)
    own_result(folder, """
        around = ee.Geometry.Point(item['longitude'], item['latitude'])
        images = ee.ImageCollection(COLLECTION).filterBounds(around)
        image = images.filterDate('2019-01-01', '2025-01-01').select(['R', 'G', 'B']).mosaic().select(['R', 'Q', 'B'])
        save_chip(item, image, item['longitude'], item['latitude'], nothing='no image')""")
    for eager in False, True:
        standin.set(eager=eager)
        printed = folder.edit('chips.py', OUTPUT=f'chips {eager}').run('chips.py', status=1)
        words = "Image.select: Band pattern 'Q' did not match any bands. Available bands: ["
        assert f'1 failed: {words}' in printed
        assert '1 nothing: no image (1.png)' in printed


def test_where_nothing_was_found_the_bands_are_told(folder):
    """A misspelt band looks just like places without an image."""
    write_points(folder, *NEAR).edit('chips.py', SIZE=8, BANDS=['R', 'G', 'Q'])
    printed = folder.run('chips.py', status=1)
    assert '2 nothing: no image with R, G, Q between' in printed
    beginning = 'The first image of USDA/NAIP/DOQQ has the bands'
    told, = [line for line in said(printed) if line.startswith(beginning)]
    assert re.search('bands (N, R, G|R, G, B|R, G, B, N)\\.', told) and 'R, G, Q misspelt?' in told
    printed = folder.edit('chips.py', BANDS=['R', 'G', 'B']).run('chips.py', '--keep')
    assert '2 of 2' in printed and 'The first image' not in printed


# ---------------------------------------------------------------- too much

@pytest.fixture(scope='module')
def series(server, tmp_path_factory):
    """The files of a run of HEAVY that nothing disturbs."""
    @functools.cache
    def files(country='Uruguay'):
        server.set(**DEFAULTS)
        folder = ready(Folder(tmp_path_factory.mktemp('calm'), server), 'timeseries.py',
                       **{**HEAVY, 'COUNTRIES': [country]})
        folder.run('timeseries.py')
        found = folder.files('timeseries')
        assert len(found) == {'Uruguay': 13, 'Suriname': 7}[country] and found['00000.csv'].count(b'\n') == 139
        return found
    return files


@pytest.mark.parametrize('text,status,at,sure', [
    pytest.param(text, status, at, sure, id=f'{text.split()[0]}-{status}-{at}') for text, status, at, sure in (
        (MEMORY, 400, 'get', True), (MEMORY, 400, 'create', True),
        (LATE, 400, 'get', True), (LATE, 400, 'create', True),
        (CROWD, 400, 'get', False), (CROWD, 429, 'create', False),
        (QUOTA, 429, 'get', False), (QUOTA, 400, 'create', False),
        ('The service is currently unavailable.', 503, 'get', False), ('Out of order.', 500, 'create', False),
        ('Deadline exceeded.', 504, 'get', False))])
def test_a_series_that_is_too_much_comes_in_parts(folder, standin, series, text, status, at, sure):
    """In halves of halves: seven parts a region, each asked for once where it is surely too much,
    or three times where it may be; and what came isn't asked for again."""
    files = series('Suriname')
    standin.set(behaviour={'max_images': 40, 'max_images_text': text, 'max_images_status': status,
                           'max_images_at': at})
    standin.reset()
    ready(folder, 'timeseries.py', **{**HEAVY, 'COUNTRIES': ['Suriname']}).run('timeseries.py')
    assert folder.files('timeseries') == files
    regions, counts = len(files) - 1, standin.counts()
    assert sum(counts['requests']['create'].values()) == regions * (7 if sure or at == 'get' else 7 + 2 * 3)
    assert counts['results'] == counts['items_served'] == 4 * regions


def test_the_same_words_at_random_halve_nothing(folder, standin, series):
    """In one request of five: hardly any is refused three times in a row."""
    files = series()
    standin.set(faults='create=0.2,table=0.2', fault_kinds='aggregations,quota-aggregations,busy503,500,504')
    standin.reset()
    ready(folder, 'timeseries.py', **HEAVY).run('timeseries.py')
    assert folder.files('timeseries') == files
    regions, counts = len(files) - 1, standin.counts()
    assert sum(counts['faults']['table'].values()) and sum(counts['faults']['create'].values())
    assert counts['requests']['create']['200'] <= regions + 4  # two halvings
    assert counts['results'] == counts['items_served']


@pytest.mark.parametrize('kinds', ['busy503', '503,reset,aggregations'])
def test_a_service_that_is_down_for_a_while_halves_nothing(folder, standin, series, kinds):
    """It refuses all, whatever is asked."""
    files = series()
    ready(folder, 'timeseries.py', **HEAVY, PAUSES=[0.02] * 20).run('timeseries.py', '--first', '1')
    standin.set(faults='create=1,table=1,compute=1', fault_kinds=kinds)
    run = folder.start('timeseries.py')
    while sum(row['outcome'] == 'again' for row in folder.log('timeseries')) < 8:
        assert run.poll() is None
        time.sleep(0.1)
    standin.set(**DEFAULTS)
    standin.reset()
    out, err = run.communicate(timeout=LIMIT)
    assert run.returncode == 0, err
    assert folder.files('timeseries') == files
    # each of four processes may have asked a question just when the service was back
    assert creates(standin) <= len(files) - 2 + 4 * 2


@pytest.mark.parametrize('text,outcome', [
    pytest.param(MEMORY, 'failed', id='surely'), pytest.param(CROWD, 'again', id='perhaps')])
def test_too_much_at_the_bottom(folder, standin, text, outcome):
    """A single image that is too much has failed; where it may be so, it gets another turn."""
    standin.set(behaviour={'max_images': 0, 'max_images_text': text})
    ready(folder, 'timeseries.py', COUNTRIES=['Uruguay'], START='2020-01-01', END='2020-01-09')
    told = said(folder.run('timeseries.py', status=1))
    regions = len(folder.table('timeseries/regions.csv'))
    assert told[0].startswith(f'0 of {regions}') and told[1].startswith(f'{regions} {outcome}: {text}')
    counts = standin.counts()
    assert counts['results'] == counts['items_served'] and creates(standin) < 20 * regions


def test_refusals_with_another_between_them_are_not_in_a_row(folder, standin):
    """Two and two make no three: the series comes whole."""
    standin.set(faults_in_turn='table=busy503 busy503 429 busy503 busy503')
    ready(folder, 'timeseries.py', **HEAVY).run('timeseries.py', '--first', '1')
    assert standin.counts()['requests']['create'] == {'200': 1}
    standin.set(faults_in_turn='table=busy503 busy503 busy503')
    standin.reset()
    folder.run('timeseries.py', '--first', '1')
    assert standin.counts()['requests']['create'] == {'200': 3}


def test_all_parts_but_one_are_kept_when_its_id_has_expired(folder, standin):
    """The whole and its first half are too much; then a part comes, and the id of the next is lost."""
    standin.set(behaviour={'max_images': 40}, faults_in_turn='table=- - - expired')
    ready(folder, 'timeseries.py', **HEAVY, PROCESSES=1).run('timeseries.py', '--first', '1')
    counts = standin.counts()
    assert counts['faults']['table'] == {'expired': 1}
    assert counts['requests']['create'] == {'200': 7 + 1} and counts['results'] == counts['items_served'] == 4


@pytest.mark.parametrize('kind', ['stall', 'drip'])
def test_an_item_slower_than_the_deadline(folder, standin, kind):
    """It costs three requests a round, and the cause is told first."""
    # what drips does so once a second, so that only the whole of it takes too long
    deadline = {'stall': 1, 'drip': 2}[kind]
    write_points(folder, *NEAR).edit('chips.py', SIZE=64, FORMAT='npy', DEADLINE=deadline)
    standin.set(faults='pixels=1', fault_kinds=kind, stall=30)
    printed = hasten(folder).run('chips.py', status=1)
    counts = standin.counts()['requests']
    assert sum(counts['pixels'].values()) == 6 and counts['create'] == {'200': 2}
    reason = f'no answer within {deadline} seconds (DEADLINE)'
    assert f'2 again: {reason} (0.npy, 1.npy)' in printed and f'last: {reason}' in printed
    assert all(row['why'] == reason for row in folder.log('chips') if row['outcome'] in ('retry', 'again'))


# ---------------------------------------------------------------- restricted mode

@pytest.mark.parametrize('processes', [25, 2])
def test_restricted_mode_is_said_once(folder, standin, processes):
    """All chips come, two at a time."""
    standin.set(restricted_concurrency=2, latency='create=0.05,pixels=0.2')
    printed = folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8, PROCESSES=processes).run('chips.py')
    counts = standin.counts()
    assert '40 of 40' in printed and counts['most_at_once'] <= 2 + 2
    if processes > 2:
        assert counts['throttled'] and printed.count('Your project is in restricted mode') == 1
        assert re.search('last: .*stricted.mode', printed, re.IGNORECASE)  # of the refusal or the client's warning
        assert 'PROCESSES = 2 spares' in printed and 'console.cloud.google.com' in printed


def test_restricted_mode_of_an_earlier_run_is_not_said(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=2, SIZE=8)
    standin.set(faults_in_turn='pixels=restricted')
    assert 'Your project is in restricted mode' in folder.run('chips.py', '--first', '1')
    standin.set(**DEFAULTS)
    assert 'restricted' not in folder.run('chips.py')


# ---------------------------------------------------------------- whatever isn't known

# What a switch may be, and how much of a calm run has to come: the same 'bytes', the same 'pixels'
# but for how they are packed, or the same 'outcomes' of other items.
SWITCHES = {
    'framing': ({'json_framing': 'length', 'result_framing': 'chunked'}, 'bytes'),
    'html': ({'error_body': 'html', 'expired_status': 403}, 'bytes'),
    'text': ({'error_body': 'text', 'expired_status': 400}, 'bytes'),
    'busy 429': ({'capacity_status': 429, 'expired_status': 410, 'expired_words': 'expired_other'}, 'bytes'),
    'busy 500': ({'capacity_status': 500, 'expired_status': 401}, 'bytes'),
    'limits': ({'expired_status': 400, 'expired_words': 'expired_other', 'download_limit': 33554432, 'aggregate_limit': 5000, 'table_limit': 5000}, 'bytes'),
    'order': ({'sample_order': 'shuffled', 'collection_order': 'reversed'}, 'bytes'),
    'old words': ({'no_bands': 'old', 'no_bands_link': False, 'lst_fill': 'shown'}, 'bytes'),
    'bare': ({'no_bands': 'bare', 'csv_float': 'long', 'csv_newline': '\r\n'}, 'bytes'),
    'tables': ({'csv_final_newline': False, 'csv_bom': '\ufeff', 'csv_quotes': True}, 'bytes'),
    'alpha': ({'png_alpha': 'always', 'npy_masked': 'minimum', 'csv_empty': 'nothing'}, 'pixels'),
    'no alpha': ({'png_alpha': 'never'}, 'pixels'),
    'other items': ({'sample_seed': 1, 'no_centre': 'touched'}, 'outcomes'),
    'short archive': ({'archive_end': '2021-06-01'}, 'outcomes'),
}
ELSEWHERE = {'not_found_status', 'other_project_status',  # in the next test
             'max_images', 'max_images_at', 'max_images_text', 'max_images_status',  # above
             'csv_null'}  # no other value was thought of
SMALL = {  # in START's year and the newest NAIP isn't alike; 0 for nothing changes a mean, but no maximum
    'chips.py': dict(POINTS_PER_ECOREGION=3, SIZE=8, START='2017-01-01'),
    'timeseries.py': dict(COUNTRIES=['Uruguay'], START='2021-04-01', END='2021-05-20', REDUCER='mean')}
SOME_WITHOUT = "\nof_all = getRequests\n\n\ndef getRequests():\n    first, second, *rest = of_all()\n" \
               "    return [{**first, 'longitude': 10.5, 'latitude': 50.5}, second, *rest]\n"


def results(folder, script):
    """({file: bytes}, {file: outcome}) of a folder."""
    name = script.removesuffix('.py')
    return folder.files(name), {file: ends[-1] for file, ends in outcomes(folder, name).items()}


@pytest.fixture(scope='module')
def small(server, tmp_path_factory):
    """Makes folders for small runs; of chips.py with a place that has nothing."""
    def make(script):
        folder = ready(Folder(tmp_path_factory.mktemp('small'), server), script, **SMALL[script])
        return folder.add('chips.py', SOME_WITHOUT) if script == 'chips.py' else folder

    @functools.cache
    def calm(script):
        server.set(**DEFAULTS)
        folder = make(script)
        folder.run(script)
        return results(folder, script)
    return make, calm


def test_each_switch_is_tried():
    assert {name for switches, _ in SWITCHES.values() for name in switches} | ELSEWHERE == {*BEHAVIOUR}
    for switches, _ in SWITCHES.values():
        assert all(BEHAVIOUR[name] != value for name, value in switches.items())


@pytest.mark.parametrize('case', SWITCHES)
@pytest.mark.parametrize('script', SMALL)
def test_the_same_comes_whatever_is_unknown(small, standin, script, case):
    """With refusals of the moment in one request of five."""
    switches, alike = SWITCHES[case]
    make, calm = small
    files, ended = calm(script)
    assert {*ended.values()} == ({'done', 'nothing'} if script == 'chips.py' else {'done'})
    standin.set(behaviour=switches, faults='create=0.2,pixels=0.2,table=0.2',
                fault_kinds='capacity,aggregations,429,expired,busy503')
    folder = make(script)
    folder.run(script)
    found, outcome = results(folder, script)
    assert outcome == ended
    if alike == 'bytes':
        assert found == files
    elif alike == 'pixels' and script == 'chips.py':
        assert {*found} == {*files}
        for name in found.keys() - {'chips.csv'}:
            ours, theirs = (np.array(Image.open(io.BytesIO(body[name])).convert('RGB')) for body in (found, files))
            assert (ours == theirs).all()


@pytest.mark.parametrize('status', [400, 404])
def test_what_is_not_there_is_told_whatever_the_status(new_folder, standin, status):
    """Once, by a sentence, and before there is any item."""
    standin.set(behaviour={'not_found_status': status, 'other_project_status': status if status == 404 else 403})
    for script in 'chips.py', 'timeseries.py':
        standin.reset()
        told = said(new_folder().edit(script, COLLECTION='NO/SUCH').run(script, status=1))
        assert len(told) == 1 and "ImageCollection asset 'NO/SUCH' not found (does not exist or caller" in told[0]
        told = said(new_folder().edit(script, PROJECT='mine').run(script, status=1))
        assert any("Project 'projects/mine' not found or deleted." in line for line in told)


ENDS = {  # what a script makes of a sentence, whatever its status
    **dict.fromkeys(('memory', 'timed_out', 'elements'), chips.TooMuch),
    **dict.fromkeys(('aggregations', 'quota_aggregations'), chips.MayBeTooMuch),
    **dict.fromkeys(('capacity', 'memory_capacity', 'rate_reason', 'user_rate_reason', 'rate_info'),
                    ConnectionError)}


@pytest.mark.parametrize('place', ['thumbnails', 'thumbnails/a:getPixels'])
@pytest.mark.parametrize('status', [400, 403, 404, 429, 499, 500, 502, 503, 504])
def test_what_is_made_of_each_sentence(status, place):
    """By its words, or else by its status; more than enough is not asked for again."""
    by_status = {429: ConnectionError, 499: ConnectionError, 502: ConnectionError, 500: chips.MayBeTooMuch,
                 503: chips.MayBeTooMuch, 504: chips.MayBeTooMuch}
    for row in sentences.SENTENCES:
        text = row.text.replace('{limit}', '5000')
        error = chips.error_for(f'https://a.googleapis.com/v1/projects/b/{place}', status, text, text.encode())
        expected = ENDS.get(row.name) or by_status.get(status, ee.EEException)
        if expected is ConnectionError and status in (500, 503, 504):
            expected = chips.MayBeTooMuch
        if place.endswith('getPixels') and status in (403, 404) and expected is ee.EEException and (
                row.name not in ('not_found', 'select_no_bands', 'picture_no_bands', 'select_old')):
            expected = ConnectionError
        assert type(error) is expected, (row.name, status)


def decided_by(script):
    """The pieces of text by which a script decides what an answer of the service means: tuples and
    constants with such a name, and literals that are looked for in one."""
    found = set()
    for node in ast.walk(ast.parse((HERE.parent / script).read_text('utf-8'))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and re.search(
                '_words?$', node.targets[0].id):
            found |= {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)) and isinstance(
                node.left, ast.Constant) and isinstance(node.left.value, str) and re.search(
                r'\b(text|words|why|error|content|told)\b', ast.unparse(node.comparators[0])):
            found.add(node.left.value)
    return found


def test_each_text_that_decides_has_a_source():
    sources = [text.lower().replace('{limit}', '5000') for text in sentences.sourced()]  # as recorded
    both = decided_by('chips.py') | decided_by('timeseries.py')
    found = {text for text in both if any(text.lower() in source for source in sources)}
    # a form that nobody has recorded, words of the connection's library, and a byte in the user's own table
    assert both - found <= {'Available bands: []', 'timed out', 'Read', '\0'}
    assert {'does not exist', 'restricted mode', 'Computation timed out', 'memory limit exceeded', 'over 5000 elements',
            'Too many concurrent aggregations', 'capacity exceeded', 'rateLimitExceeded',
            'applied to an Image with no bands', 'image with no bands'} <= both


# ---------------------------------------------------------------- GeoTIFF

def test_masked_pixels_of_a_tif(folder):
    """The lowest number of a signed type, 0 of an unsigned one; unmask() keeps the footprint,
    unmask(value, False) fills what is outside of it, too."""
    kinds = {'float': 'toFloat()', 'int16': 'toInt16()', 'byte': 'toByte()',
             'inside': 'toInt16().unmask(5)', 'all': 'toInt16().unmask(5, False)'}
    write_points(folder, *[NEAR[0]] * len(kinds)).edit('chips.py', FORMAT='tif', SIZE=20, SCALE=100)
    own_result(folder, f"""
        kind = {[*kinds]}[int(item['id'])]
        longitude = ee.Image.pixelLonLat().select('longitude')
        box = ee.Geometry.Rectangle([-106, item['latitude'] - 0.004, -104, 41])
        image = longitude.add(200).updateMask(longitude.gt(item['longitude'])).clip(box)
        image = {{{', '.join(f"{name!r}: lambda: image.{call}" for name, call in kinds.items())}}}[kind]()
        save_chip(item, image, item['longitude'], item['latitude'])""")
    folder.run('chips.py')
    found = {}
    for number, kind in enumerate(kinds):
        with rasterio.open(folder.path / 'chips' / f'{number}.tif') as image:
            found[kind] = image.nodata, image.read(1)
    inside, seen = (slice(2, 12), slice(2, 8)), (slice(2, 12), slice(12, 18))
    outside = slice(17, 20), slice(0, 20)
    for kind, blank in ('float', -np.inf), ('int16', -32768), ('byte', 0):
        nodata, pixels = found[kind]
        assert nodata == blank and (pixels[inside] == blank).all() and (pixels[outside] == blank).all()
        assert abs(pixels[seen].astype(float) - 94.5).max() < 1
    assert (found['inside'][1][inside] == 5).all() and (found['inside'][1][outside] == -32768).all()
    assert (found['all'][1][inside] == 5).all() and (found['all'][1][outside] == 5).all()


# ---------------------------------------------------------------- accounts, tags

@pytest.mark.parametrize('name,tag', [
    ('chips', 'chips'), ('My Chips 2', 'my-chips-2'), ('_', 'script'), ('x' * 80, 'x' * 63)],
    ids=['as it is', 'made fit', 'nothing left', 'long'])
def test_requests_carry_the_name_of_the_script(folder, standin, name, tag):
    """So that Cloud Monitoring tells what each has cost."""
    write_points(folder, *NEAR).edit('chips.py', SIZE=8)
    (folder.path / 'chips.py').rename(folder.path / f'{name}.py')
    folder.run(f'{name}.py')
    counts = standin.counts()
    asked = sum(sum(counts['requests'][kind].values()) for kind in ('compute', 'create'))
    assert counts['workload_tags'] == {tag: asked} and asked > 2


def test_a_workload_identity_names_no_project(folder, standin):
    """Set PROJECT, says the sentence."""
    standin.set(account='workload', no_project=True)
    folder.edit('chips.py', **SMALL['chips.py'])
    line, = said(folder.run('chips.py', status=1))
    assert 'no project found. Set PROJECT' in line
    folder.edit('chips.py', PROJECT='standin-project').run('chips.py')


@pytest.mark.parametrize('account', ['service', 'workload'])
def test_accounts_of_servers(folder, standin, account):
    """Their sign-in asks for the scopes that Earth Engine wants, in each process."""
    standin.set(account=account)
    for script in 'chips.py', 'timeseries.py':
        standin.reset()
        folder.edit(script, **SMALL[script]).run(script)
        counts = standin.counts()
        assert 'https://www.googleapis.com/auth/earthengine' in counts['scopes']
        assert counts['tokens'] and not counts['credentials_with_results']
