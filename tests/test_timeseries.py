"""The tables of timeseries.py, compared with the closed formulas of the stand-in's datasets."""
import csv
import sys

import numpy as np
import pyproj
import pytest
import shapely

import datasets
from conftest import BRIEF, HERE, LIMIT, hasten, said, wait_for

sys.path.insert(0, str(HERE.parent))
import timeseries  # noqa: E402

# the archive has an image of START and one of END, which isn't in
FEW = dict(COUNTRIES=['Ecuador', 'Uruguay', 'Chile'], START='2001-05-01', END='2001-08-13')
TABLE = 'FAO/GAUL_SIMPLIFIED_500m/2015/level2'


def cells_of(shape):
    """Columns and rows of the MODIS cells whose centre lies in a shape, by PROJ and shapely."""
    sphere = pyproj.Transformer.from_crs('EPSG:4326', datasets.CRS['SR-ORG:6974'], always_xy=True)
    found = []
    for part in shapely.get_parts(shape):
        xs, ys = sphere.transform(*np.array(shapely.get_coordinates(part.buffer(0.05))).T)
        cols = np.arange((xs.min() + 20015109.354) // datasets.MODIS_CELL,
                         (xs.max() + 20015109.354) // datasets.MODIS_CELL + 1)
        rows = np.arange((10007554.677003 - ys.max()) // datasets.MODIS_CELL,
                         (10007554.677003 - ys.min()) // datasets.MODIS_CELL + 1)
        col, row = (a.ravel() for a in np.meshgrid(cols, rows))
        lon, lat = sphere.transform((col + 0.5) * datasets.MODIS_CELL - 20015109.354,
                                    10007554.677003 - (row + 0.5) * datasets.MODIS_CELL,
                                    direction='INVERSE')
        inside = shapely.contains_xy(part, lon, lat)
        found.append(np.array([col[inside], row[inside]], int))
    return np.unique(np.hstack(found), axis=1)


def expected(shape, days, quality=3, night=0, reduce=np.max, unit=0.02, offset=-273.15, decimals=2,
             pixels=False):
    """The lines that the table of a region must have."""
    col, row = cells_of(shape)
    lines = [f'date,LST_{"Night" if night else "Day"}_1km' + ',pixels' * pixels]
    for day in days:
        seen = ~datasets.lst_masked(col, row, day + night) & (
            datasets.lst_qc(col, row, day + night) & 3 <= quality)
        raw = datasets.lst_raw(col, row, day + night)[seen] - 750 * night
        value = f'{reduce(raw) * unit + offset:.{decimals}f}' if raw.size else ''
        lines.append(f'{datasets.date_of(day)},{value}' + f',{raw.size}' * pixels)
    return lines


def days_between(start, end):
    return [day for day in datasets.LST_DAYS if start <= str(datasets.date_of(day)) < end]


def units(countries, table=TABLE):
    """{system:index: (properties, geometry)} of the level 2 units of some countries."""
    return {index: (properties, shape) for index, properties, shape in datasets.TABLES[table]()
            if properties['ADM0_NAME'] in countries}


GAUL = ['ADM0_CODE', 'ADM0_NAME', 'ADM1_CODE', 'ADM1_NAME', 'ADM2_CODE', 'ADM2_NAME']


def compare(folder, truth, days, columns=GAUL, **options):
    """Checks the index, and each table against the formulas."""
    rows = folder.table('timeseries/regions.csv')
    assert list(rows[0]) == ['file', 'id', *columns, 'end', 'images']
    assert {row['id'] for row in rows} == set(truth)
    assert len({row['file'] for row in rows}) == len(rows) == len(truth)
    for row in rows:
        properties, shape = truth[row['id']]
        for name in columns:
            assert row[name] == str(properties.get(name, ''))
        assert row['images'] == str(len(days))
        text = (folder.path / 'timeseries' / row['file']).read_text()
        assert text.endswith('\n')
        assert text.splitlines() == expected(shape, days, **options), properties
    return rows


@BRIEF
def test_each_region_has_its_series(folder):
    folder.edit('timeseries.py', **FEW).run('timeseries.py')
    truth = units(FEW['COUNTRIES'])
    rows = compare(folder, truth, days_between(FEW['START'], FEW['END']))
    order = [(int(row['ADM0_CODE']), int(row['ADM1_CODE']), int(row['ADM2_CODE']), row['ADM2_NAME'])
             for row in rows]
    assert order == sorted(order) and [row['file'] for row in rows] == [
        f'{number:05}.csv' for number in range(len(rows))]
    files = folder.files('timeseries')
    assert len(files) == len(rows) + 1
    shared = [row for row in rows if row['ADM2_CODE'] == '15426']
    assert len(shared) == 2 and shared[0]['ADM2_NAME'] != shared[1]['ADM2_NAME']
    assert files[shared[0]['file']] != files[shared[1]['file']]
    tables = [list(csv.reader(body.decode().splitlines())) for name, body in files.items()
              if name != 'regions.csv']
    assert any(all(line[1] == '' for line in table[1:]) for table in tables)  # all cloud, or tiny
    assert {path.parent.name for path in folder.path.rglob('*.csv')} == {'timeseries'}


def test_whole_archive_of_a_region(folder):
    folder.edit('timeseries.py', COUNTRIES=['Falkland Islands (Malvinas)']).run('timeseries.py')
    compare(folder, units(['Falkland Islands (Malvinas)']), datasets.LST_DAYS)


@pytest.mark.parametrize('pixels', [False, True], ids=['alone', 'with pixels'])
@pytest.mark.parametrize('quality', [0, 1], ids=['good', 'unreliable too'])
def test_quality(folder, quality, pixels):
    folder.edit('timeseries.py', QUALITY=quality, PIXELS=pixels, **FEW).run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), quality=quality,
            pixels=pixels)


def test_how_many_pixels_were_seen(folder):
    """With another reducer, too; 0 where nothing was, or where no pixel has its centre."""
    folder.edit('timeseries.py', PIXELS=True, REDUCER='mean', **FEW)
    printed = folder.run('timeseries.py')
    rows = compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']),
                   reduce=np.mean, pixels=True)
    tables = [(folder.path / 'timeseries' / row['file']).read_text() for row in rows]
    counts = {int(line.split(',')[2]) for text in tables for line in text.splitlines()[1:]}
    assert 0 in counts and max(counts) > 30 and 'no value at all' in printed


def test_quality_of_the_night(folder):
    folder.edit('timeseries.py', BAND='LST_Night_1km', QUALITY=0, QUALITY_BAND='QC_Night', **FEW)
    folder.run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), quality=0, night=1)


def test_units_and_decimals_of_ones_own(folder):
    """Degrees Fahrenheit; and no QUALITY_BAND need be there where there is no QUALITY."""
    folder.edit('timeseries.py', UNIT=0.036, OFFSET=-459.67, DECIMALS=3, QUALITY_BAND='none', **FEW)
    folder.run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), unit=0.036,
            offset=-459.67, decimals=3)


def test_no_decimals(folder):
    """A whole number and no point."""
    folder.edit('timeseries.py', DECIMALS=0, **{**FEW, 'COUNTRIES': ['Uruguay']}).run('timeseries.py')
    compare(folder, units(['Uruguay']), days_between(FEW['START'], FEW['END']), decimals=0)


def test_no_fill_value_and_only_the_bits_of_quality(folder, standin):
    """What was not produced is there as 0, and would be the minimum."""
    standin.set(behaviour='lst_fill=shown')
    folder.edit('timeseries.py', FILL=None, QUALITY=1, REDUCER='min', **FEW).run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), quality=1,
            reduce=np.min)


WRONG = {  # what check_constants() refuses: constants, words of the sentence
    'start after end': (dict(START='2002-01-01', END='2001-01-01'), 'START must be earlier than END'),
    'start is end': (dict(START='2001-01-01', END='2001-01-01'), 'START must be earlier than END'),
    'no day': (dict(END='2015-02-29'), "END must be a day like '2000-01-31', not '2015-02-29'"),
    'a year': (dict(START=2001), "START must be a day like '2000-01-31', not 2001"),
    'one country': (dict(COUNTRIES='Chile'), "COUNTRIES must be a list like ['Chile'], or None"),
    'one column': (dict(COLUMNS='name'), 'COLUMNS must be a list like'),
    'no column': (dict(COLUMNS=[]), 'COLUMNS must be a list like'),
    'two bands': (dict(BAND=['LST_Day_1km', 'QC_Day']), 'BAND must be the name of one band'),
    'half a decimal': (dict(DECIMALS=0.5), 'DECIMALS must be a whole number from 0, not 0.5'),
    'decimals below 0': (dict(DECIMALS=-1), 'DECIMALS must be a whole number from 0, not -1'),
    'no such reducer': (dict(REDUCER='maximum'), "REDUCER: Earth Engine has no 'maximum'"),
    'quality 2': (dict(QUALITY=2), 'QUALITY must be None, 0 or 1, not 2'),
    'night by day': (dict(BAND='LST_Night_1km', QUALITY=0),
                     'QUALITY_BAND: QC_Day and LST_Night_1km are not of the same time of day'),
    'day by night': (dict(QUALITY_BAND='QC_Night', QUALITY=1),
                     'QUALITY_BAND: QC_Night and LST_Day_1km are not of the same time of day')}
RIGHT = {
    'as it is': {}, 'night': dict(BAND='LST_Night_1km', QUALITY=0, QUALITY_BAND='QC_Night'),
    'night without quality': dict(BAND='LST_Night_1km'), 'no decimals': dict(DECIMALS=0),
    'other bands': dict(BAND='NDVI', QUALITY=1, QUALITY_BAND='SummaryQA'),
    'all countries': dict(COUNTRIES=None), 'end': dict(START='2000-01-01', END='2000-01-02'),
    'an end to come': dict(END='2090-01-01'), 'mean': dict(REDUCER='mean')}


@pytest.mark.parametrize('constants,words', WRONG.values(), ids=WRONG)
def test_constants_that_are_wrong(monkeypatch, constants, words):
    for name, value in constants.items():
        monkeypatch.setattr(timeseries, name, value)
    with pytest.raises(SystemExit) as end:
        timeseries.check_constants()
    assert words in str(end.value) and str(end.value).endswith('.')


@pytest.mark.parametrize('constants', RIGHT.values(), ids=RIGHT)
def test_constants_that_are_right(monkeypatch, constants):
    for name, value in constants.items():
        monkeypatch.setattr(timeseries, name, value)
    timeseries.check_constants()


def test_wrong_constants_are_told_without_the_service(folder, standin):
    folder.edit('timeseries.py', QUALITY_BAND='QC_Night', QUALITY=0)
    line, = folder.run('timeseries.py', status=1).splitlines()
    assert line.startswith('QUALITY_BAND: QC_Night and LST_Day_1km are not of the same time of day')
    assert not standin.counts()['hosts'] and not (folder.path / 'timeseries').exists()


FIELDS = dict(REGIONS='projects/standin/assets/fields', COLUMNS=['name'], START='2020-01-01',
              END='2020-03-01')
UNFIT = {  # what only the service can tell: constants, words of the sentence
    'no such band': (dict(BAND='LST'), ["BAND: MODIS/061/MOD11A2 has no band 'LST', but LST_Day_1km, QC"]),
    'no such quality': (dict(COLLECTION='MODIS/061/MOD13Q1', BAND='NDVI', QUALITY=0),
                        ["QUALITY_BAND: MODIS/061/MOD13Q1 has no band 'QC_Day', but NDVI, EVI, ",
                         'set QUALITY to None']),
    'no image': (dict(START='1990-01-01', END='1999-01-01'),
                 ['MODIS/061/MOD11A2 has no image from 1990-01-01 to 1999-01-01']),
    'a start to come': (dict(START='2090-01-01', END=None), ['MODIS/061/MOD11A2 has no image from 2090-01-01']),
    'min and max': (dict(REDUCER='minMax'), ['REDUCER: minMax', 'min and max']),
    'histogram': (dict(REDUCER='histogram'), ['REDUCER: histogram', 'one number, but histogram']),
    'list': (dict(REDUCER='toList'), ['REDUCER: toList', 'one number, but list']),
    'no countries': (FIELDS, ["COUNTRY: projects/standin/assets/fields has no property 'ADM0_NAME'",
                              'or COUNTRIES to None'])}


@pytest.mark.parametrize('constants,words', UNFIT.values(), ids=UNFIT)
def test_constants_that_do_not_fit_the_service(folder, standin, constants, words):
    """Once and in one sentence, and not by each item."""
    line, = said(folder.edit('timeseries.py', **{**FEW, **constants}).run('timeseries.py', status=1))
    assert all(piece in line for piece in words) and line.endswith('.')
    assert 'create' not in standin.counts()['requests']


@pytest.mark.parametrize('countries', [None, ['field 3', 'field 12']], ids=['all', 'two'])
def test_another_table_of_regions(folder, countries):
    """The README's advice for those who may not use GAUL; with a property of that table or without."""
    folder.edit('timeseries.py', **FIELDS, COUNTRIES=countries, COUNTRY='name').run('timeseries.py')
    truth = {index: (properties, shape) for index, properties, shape in
             datasets.TABLES['projects/standin/assets/fields']()
             if not countries or properties['name'] in countries}
    assert len(truth) == 12 if countries is None else len(truth) == 2
    compare(folder, truth, days_between('2020-01-01', '2020-03-01'), columns=['name'])


def test_series_with_no_value_are_counted_by_each_run(folder):
    folder.edit('timeseries.py', **FEW)
    for _ in range(2):
        printed = folder.run('timeseries.py')
        empty = [name for name, body in folder.files('timeseries').items() if name != 'regions.csv'
                 and all(line.endswith(',') for line in body.decode().splitlines()[1:])]
        assert 0 < len(empty) < 4
        assert f'{len(empty)} done: no value at all ({", ".join(sorted(empty))})' in printed


@pytest.mark.parametrize('end', [None, '2090-01-01'], ids=['no end', 'an end to come'])
def test_all_series_have_the_same_images_while_the_archive_grows(folder, standin, end):
    """Those that were there when the list was made; which END it was is told by each item."""
    standin.set(behaviour='archive_end=2003-02-15')
    folder.edit('timeseries.py', COUNTRIES=['Uruguay'], START='2003-01-01', END=end)
    folder.run('timeseries.py', '--first', '5')
    standin.set(behaviour='archive_end=2003-05-01')
    folder.run('timeseries.py')
    compare(folder, units(['Uruguay']), days_between('2003-01-01', '2003-02-15'))
    assert {row['end'] for row in folder.table('timeseries/regions.csv')} == {'2003-02-11'}
    assert {row['outcome'] for row in folder.log('timeseries')} == {'list', 'begun', 'done'}


def test_a_later_end_is_for_another_folder(folder):
    """--keep could keep no series, so it isn't offered."""
    folder.edit('timeseries.py', **{**FEW, 'COUNTRIES': ['Uruguay']}).run('timeseries.py')
    before = folder.files('timeseries')
    folder.edit('timeseries.py', END='2001-09-14')
    line, = said(folder.run('timeseries.py', status=1))
    assert "END is '2001-09-14' now and was '2001-08-13'" in line and '--keep' not in line
    assert 'The 12 results in timeseries have the end 2001-08-06' in line and 'set OUTPUT' in line
    line, = said(folder.run('timeseries.py', '--keep', status=1))
    assert 'Of 12 results in timeseries 12 have another end, images in the new list' in line
    assert folder.files('timeseries') == before


@pytest.mark.parametrize('zone', ['Pacific/Kiritimati', 'Pacific/Pago_Pago'])
def test_the_newest_image_is_one_of_universal_time(folder, standin, zone):
    """An image of 0:00 on the 10th, which is the 9th or the 10th there."""
    standin.set(behaviour='archive_end=2003-02-15')
    folder.edit('timeseries.py', COUNTRIES=['Falkland Islands (Malvinas)'], START='2003-02-01')
    folder.hook(f'import time; os.environ["TZ"] = {zone!r}; time.tzset()').run('timeseries.py')
    compare(folder, units(['Falkland Islands (Malvinas)']), days_between('2003-02-01', '2003-02-15'))
    assert {row['end'] for row in folder.table('timeseries/regions.csv')} == {'2003-02-11'}


def test_rows_are_in_order_of_time_whatever_the_order_of_the_archive(folder, standin):
    standin.set(behaviour='collection_order=reversed')
    folder.edit('timeseries.py', **FEW).run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']))


@pytest.mark.parametrize('name,near', [
    ('brazil', 'Brazil'), ('Chili', 'Chile'), ('GUYANA', 'Guyana'), ('PARAGUAY', 'Paraguay')])
def test_a_misspelt_country_and_the_nearest(folder, name, near):
    line, = said(folder.edit('timeseries.py', COUNTRIES=['Peru', name]).run('timeseries.py', status=1))
    assert repr(name) in line and repr(near) in line


def test_full_resolution_table(folder):
    folder.edit('timeseries.py', REGIONS='FAO/GAUL/2015/level2', **FEW).run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES'], 'FAO/GAUL/2015/level2'),
            days_between(FEW['START'], FEW['END']))


def test_all_countries_and_no_others(folder):
    folder.edit('timeseries.py', START='2020-01-01', END='2020-01-20').run('timeseries.py')
    everywhere = {row[1]['ADM0_NAME'] for row in datasets.TABLES[TABLE]()}
    south = everywhere - {'Panama', 'Canada', 'United States of America'}
    compare(folder, units(south), days_between('2020-01-01', '2020-01-20'))


def test_no_geometry_is_sent_up(folder, standin):
    folder.edit('timeseries.py', COUNTRIES=['Suriname'], START='2020-01-01', END='2020-02-01')
    standin.set(broken_match='oordinates|GeometryConstructors')
    folder.run('timeseries.py')


SURINAME = dict(COUNTRIES=['Suriname'], START='2003-01-01', END='2006-01-01')  # 138 images
TOO_MUCH = {  # more images than these, the status that says so, where, the words of it; the first
    # are surely of the request, the others may be of a moment
    'memory': (40, 400, 'get', 'User memory limit exceeded.'),
    'memory by 500': (100, 500, 'create', 'User memory limit exceeded.'),
    'time': (40, 400, 'create', 'Computation timed out.'),
    'time by 503': (100, 503, 'get', 'Computation timed out.'),
    'aggregations': (40, 400, 'get', 'Too many concurrent aggregations.'),
    'aggregations by 429': (100, 429, 'create', 'Quota exceeded: Too many concurrent aggregations.'),
    '500': (40, 500, 'create', 'An internal error has occurred.'),
    '504': (100, 504, 'get', 'Deadline exceeded.')}


@pytest.mark.parametrize('limit,status,at,text', TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_series_that_is_too_much_comes_in_parts(folder, standin, limit, status, at, text):
    """Each region by itself, with no more requests than it takes to find out, and all at first go."""
    standin.set(behaviour={'max_images': limit, 'max_images_status': status, 'max_images_text': text,
                           'max_images_at': at})
    hasten(folder).edit('timeseries.py', **SURINAME).run('timeseries.py')
    compare(folder, units(['Suriname']), days_between('2003-01-01', '2006-01-01'))
    counts = standin.counts()
    leaves = 4 if limit == 40 else 2
    assert counts['results'] == counts['items_served'] == 6 * leaves
    # of each request that is too much one or three tries
    assert sum(counts['requests']['create'].values()) <= 6 * (leaves + 3 * (leaves - 1)) < 6 * 60


@pytest.mark.parametrize('limit', [1, 3])
def test_halves_have_each_image_once(folder, standin, limit):
    """Down to a day each, of years with 365 and 366."""
    standin.set(behaviour={'max_images': limit})
    few = dict(COUNTRIES=['Falkland Islands (Malvinas)'], START='2003-12-03', END='2004-03-22')
    hasten(folder).edit('timeseries.py', **few).run('timeseries.py')
    days = days_between('2003-12-03', '2004-03-22')
    compare(folder, units(few['COUNTRIES']), days)
    counts = standin.counts()
    assert counts['results'] == counts['items_served'] >= 2 * len(days) / limit > 8


@pytest.mark.parametrize('text', ['User memory limit exceeded.', 'Too many concurrent aggregations.'],
                         ids=['surely too much', 'perhaps too much'])
def test_many_parts_that_came_are_not_asked_for_again(folder, standin, text):
    """Though others of the same region, as some of 31, have to be tried again."""
    standin.set(behaviour={'max_images': 16, 'max_images_text': text}, fault_kinds='429',
                faults='create=0.15,table=0.1')
    few = {**SURINAME, 'COUNTRIES': ['Falkland Islands (Malvinas)']}
    hasten(folder).edit('timeseries.py', **few).run('timeseries.py')
    compare(folder, units(few['COUNTRIES']), days_between('2003-01-01', '2006-01-01'))
    counts = standin.counts()
    assert counts['faults']['table'] and counts['faults']['create']
    assert counts['results'] == counts['items_served'] >= 2 * 138 / 16
    # each of them has its URL from one request, as have those that were halved
    halved = counts['results'] - 2
    assert counts['requests']['create']['200'] == counts['results'] + halved
    refused = counts['requests']['table']['400']
    assert refused == halved if text.startswith('User memory') else refused >= 3 * halved


def with_list(folder, standin, **constants):
    """Has a folder's list made, and a series; gives how many are left. Counting begins anew."""
    hasten(folder).edit('timeseries.py', START=FEW['START'], END=FEW['END'], **constants)
    folder.run('timeseries.py', '--first', '1')
    standin.reset()
    return len(folder.table('timeseries/regions.csv')) - 1


def test_refusals_of_the_moment_make_no_halves(folder, standin):
    """But where there are three in a row of one request, and the service answers another meanwhile."""
    left = with_list(folder, standin, COUNTRIES=['Peru', 'Chile', 'Ecuador'])
    standin.set(faults='create=0.2,table=0.2', fault_kinds='aggregations,quota-aggregations,500,503,504')
    folder.run('timeseries.py')
    compare(folder, units(['Peru', 'Chile', 'Ecuador']), days_between(FEW['START'], FEW['END']))
    counts = standin.counts()
    refused = sum(number for kind in counts['faults'].values() for number in kind.values())
    halved = counts['results'] - left
    assert counts['requests'].get('compute', {}) == ({'200': halved} if halved else {})
    assert refused > 10 and 3 * halved <= refused and counts['results'] == counts['items_served']


def test_a_service_that_is_down_is_not_asked_for_halves(folder, standin):
    """As it doesn't answer small questions either. In the moment in which it comes back each of the
    processes may make two halves."""
    left = with_list(folder, standin, COUNTRIES=['Uruguay'], PAUSES=[0.01] * 100, PROCESSES=11)
    standin.set(faults='table=1,compute=1', fault_kinds='503')
    run = folder.start('timeseries.py')
    wait_for(lambda: standin.counts()['faults'].get('table', {}).get('503', 0) > 10 * left, run)
    assert standin.counts()['requests']['create'] == {'200': left}
    standin.set(faults='')
    err = run.communicate(timeout=LIMIT)[1]
    counts = standin.counts()
    assert run.returncode == 0 and '12 of 12' in err, err
    assert left <= counts['results'] == counts['items_served'] <= 2 * left
    compare(folder, units(['Uruguay']), days_between(FEW['START'], FEW['END']))


def test_a_table_that_takes_longer_than_deadline_is_asked_for_in_halves(folder, standin):
    """After three times in a row."""
    left = with_list(folder, standin, COUNTRIES=['Falkland Islands (Malvinas)'], DEADLINE=1)
    standin.set(faults='table=1', fault_kinds='stall', stall=60)
    run = folder.start('timeseries.py')
    wait_for(lambda: 'compute' in standin.counts()['requests'], run)
    standin.set(faults='')
    err = run.communicate(timeout=LIMIT)[1]
    assert run.returncode == 0, err
    assert left == 1 and standin.counts()['results'] == standin.counts()['items_served'] == 2
    compare(folder, units(['Falkland Islands (Malvinas)']), days_between(FEW['START'], FEW['END']))
    tries = [row['why'] for row in folder.log('timeseries') if row['outcome'] == 'retry']
    assert len(tries) >= 2 and all('no answer within 1 seconds (DEADLINE)' in why for why in tries)


def test_a_region_of_more_than_ten_million_pixels(folder):
    """Which is what a reduction takes unless it is told to take more: reduceRegion's maxPixels."""
    folder.edit('timeseries.py', REGIONS='FAO/GAUL/2015/level0', COLUMNS=['ADM0_NAME'], COUNTRIES=['Canada'],
                COLLECTION='MODIS/061/MOD13Q1', BAND='NDVI', FILL=-3000, START='2020-01-01', END='2020-01-02')
    folder.run('timeseries.py')
    row, = folder.table('timeseries/00000.csv')
    assert row['date'] == '2020-01-01' and row['NDVI']


def test_no_region_at_all(folder):
    folder.edit('timeseries.py', REGIONS='projects/standin/assets/none', COLUMNS=['name'], COUNTRIES=None)
    line, = said(folder.run('timeseries.py', status=1))
    assert line == 'REGIONS: projects/standin/assets/none has no region.'


@pytest.mark.parametrize('many', [-1, 1], ids=['fewer', 'more'])
def test_another_number_of_rows_than_of_images_is_asked_for_again(folder, standin, many):
    """All of it anew, as it was whole by all that can be seen."""
    folder.add('timeseries.py', f'''
right_part = fetch_part


def fetch_part(region_id, start, end):
    """Gets one row more or less the first time."""
    rows = right_part(region_id, start, end)
    try:
        os.mkdir(region_id)
    except FileExistsError:
        return rows
    return rows[:-1] if {many} < 0 else rows + rows[-1:]
''')
    hasten(folder).edit('timeseries.py', **FEW).run('timeseries.py')
    truth, days = units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END'])
    compare(folder, truth, days)
    retries = [row['why'] for row in folder.log('timeseries') if row['outcome'] == 'retry']
    assert len(retries) == len(truth) and all(
        f'{len(days) + many} rows came for {len(days)} images' in why for why in retries)
    counts = standin.counts()
    assert counts['requests']['create'] == {'200': 2 * len(truth)}
    assert counts['results'] == 2 * counts['items_served'] == 2 * len(truth)


def test_tables_that_lack_their_last_rows_are_noticed(folder, standin):
    standin.set(faults='table=0.4', fault_kinds='rows')
    hasten(folder).edit('timeseries.py', **FEW).run('timeseries.py')
    assert standin.counts()['faults']['table']['rows'] > 3
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']))


def test_a_part_that_cannot_be_halved_fails_the_region(folder, standin):
    standin.set(behaviour='max_images=0')
    folder.edit('timeseries.py', COUNTRIES=['Suriname'], START='2003-01-01', END='2003-01-05')
    printed = folder.run('timeseries.py', status=1)
    assert 'limit exceeded' in printed or 'timed out' in printed
    assert list(folder.files('timeseries')) == ['regions.csv']


@pytest.mark.parametrize('behaviour', ['csv_newline="\\r\\n"', 'csv_final_newline=false',
                                       'csv_float="long"'])
def test_tables_are_the_same_however_the_service_writes_them(folder, standin, behaviour):
    standin.set(behaviour=behaviour)
    few = dict(COUNTRIES=['Suriname'], START='2003-01-01', END='2003-04-01')
    folder.edit('timeseries.py', **few).run('timeseries.py')
    compare(folder, units(['Suriname']), days_between('2003-01-01', '2003-04-01'))


def test_a_place_that_is_never_seen_has_empty_cells_however_the_service_keeps_it(folder, standin):
    """The fill value may be masked or not; one region of Chile is always under clouds."""
    standin.set(behaviour='lst_fill=shown')
    few = dict(COUNTRIES=['Chile'], START='2003-01-01', END='2003-04-01')
    folder.edit('timeseries.py', **few).run('timeseries.py')
    compare(folder, units(['Chile']), days_between('2003-01-01', '2003-04-01'))


def test_a_region_with_no_pixel_centre_may_have_a_value(folder, standin):
    few = dict(COUNTRIES=['Uruguay'], START='2003-01-01', END='2003-04-01')
    standin.set(behaviour='no_centre=touched')
    folder.edit('timeseries.py', **few).run('timeseries.py')
    days = days_between('2003-01-01', '2003-04-01')
    for row in folder.table('timeseries/regions.csv'):
        lines = (folder.path / 'timeseries' / row['file']).read_text().splitlines()
        shape = units(['Uruguay'])[row['id']][1]
        if cells_of(shape).size:
            assert lines == expected(shape, days)
        else:
            assert [line[:11] for line in lines[1:]] == [f'{datasets.date_of(day)},' for day in days]
            assert any(line[11:] for line in lines[1:])
