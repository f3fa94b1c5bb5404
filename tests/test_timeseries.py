"""The tables of timeseries.py, compared with the closed formulas of the stand-in's datasets."""
import csv

import numpy as np
import pyproj
import pytest
import shapely

import datasets
from conftest import BRIEF, hasten, said

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


def expected(shape, days, quality=3, night=0, reduce=np.max, unit=0.02, offset=-273.15, decimals=2):
    """The lines that the table of a region must have."""
    col, row = cells_of(shape)
    lines = [f'date,LST_{"Night" if night else "Day"}_1km']
    for day in days:
        seen = ~datasets.lst_masked(col, row, day + night) & (
            datasets.lst_qc(col, row, day + night) & 3 <= quality)
        raw = datasets.lst_raw(col, row, day + night)[seen] - 750 * night
        value = f'{reduce(raw) * unit + offset:.{decimals}f}' if raw.size else ''
        lines.append(f'{datasets.date_of(day)},{value}')
    return lines


def days_between(start, end):
    return [day for day in datasets.LST_DAYS if start <= str(datasets.date_of(day)) < end]


def units(countries, table=TABLE):
    """{system:index: (properties, geometry)} of the level 2 units of some countries."""
    return {index: (properties, shape) for index, properties, shape in datasets.TABLES[table]()
            if properties['ADM0_NAME'] in countries}


def compare(folder, truth, days, **options):
    """Checks the index, and each table against the formulas."""
    rows = folder.table('timeseries/regions.csv')
    assert {row['id'] for row in rows} == set(truth)
    assert len({row['file'] for row in rows}) == len(rows) == len(truth)
    for row in rows:
        properties, shape = truth[row['id']]
        for name in ('ADM0_CODE', 'ADM0_NAME', 'ADM1_CODE', 'ADM1_NAME', 'ADM2_CODE', 'ADM2_NAME'):
            assert row[name] == str(properties.get(name, ''))
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


@pytest.mark.parametrize('quality', [0, 1])
def test_quality(folder, quality):
    folder.edit('timeseries.py', QUALITY=quality, **FEW).run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), quality=quality)


def test_quality_of_the_night(folder):
    folder.edit('timeseries.py', BAND='LST_Night_1km', QUALITY=0, **FEW)
    printed = folder.run('timeseries.py', status=1)
    assert 'QUALITY_BAND: QC_Day' in printed and 'LST_Night_1km' in printed
    folder.edit('timeseries.py', QUALITY_BAND='QC_Night').run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), quality=0, night=1)


def test_units_and_decimals_of_ones_own(folder):
    """Degrees Fahrenheit; and no QUALITY_BAND need be there where there is no QUALITY."""
    folder.edit('timeseries.py', UNIT=0.036, OFFSET=-459.67, DECIMALS=3, QUALITY_BAND='none', **FEW)
    folder.run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), unit=0.036,
            offset=-459.67, decimals=3)


def test_no_fill_value_and_only_the_bits_of_quality(folder, standin):
    """What was not produced is there as 0, and would be the minimum."""
    standin.set(behaviour='lst_fill=shown')
    folder.edit('timeseries.py', FILL=None, QUALITY=1, REDUCER='min', **FEW).run('timeseries.py')
    compare(folder, units(FEW['COUNTRIES']), days_between(FEW['START'], FEW['END']), quality=1,
            reduce=np.min)


@pytest.mark.parametrize('reducer,words', [
    ('minMax', 'min and max'), ('histogram', 'histogram'), ('toList', 'list')])
def test_a_reducer_of_more_than_a_number_is_refused(folder, standin, reducer, words):
    printed = folder.edit('timeseries.py', REDUCER=reducer, **FEW).run('timeseries.py', status=1)
    line, = said(printed)
    assert 'REDUCER' in line and reducer in line and words in line
    assert 'table' not in standin.counts()['requests']


def test_series_with_no_value_are_counted_by_each_run(folder):
    folder.edit('timeseries.py', **FEW)
    for _ in range(2):
        printed = folder.run('timeseries.py')
        empty = [name for name, body in folder.files('timeseries').items() if name != 'regions.csv'
                 and all(line.endswith(',') for line in body.decode().splitlines()[1:])]
        assert 0 < len(empty) < 4
        assert f'{len(empty)} done: no value at all ({", ".join(sorted(empty))})' in printed


def test_all_series_have_the_same_images_while_the_archive_grows(folder, standin):
    """END = None means what is newest when the list is made, also for what comes later."""
    standin.set(behaviour='archive_end=2003-02-15')
    folder.edit('timeseries.py', COUNTRIES=['Uruguay'], START='2003-01-01')
    folder.run('timeseries.py', '--first', '5')
    standin.set(behaviour='archive_end=2003-05-01')
    folder.run('timeseries.py')
    compare(folder, units(['Uruguay']), days_between('2003-01-01', '2003-02-15'))
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


@pytest.mark.parametrize('limit,status,text', [
    (40, 400, 'Computation timed out.'), (100, 503, 'Computation timed out.'),
    (100, 400, 'User memory limit exceeded.'), (100, 500, 'User memory limit exceeded.')])
def test_a_series_that_is_too_much_comes_in_parts(folder, new_folder, standin, limit, status, text):
    few = dict(COUNTRIES=['Suriname'], START='2003-01-01', END='2008-01-01')
    calm = new_folder()
    calm.edit('timeseries.py', **few).run('timeseries.py')
    standin.set(behaviour={'max_images': limit, 'max_images_status': status, 'max_images_text': text})
    hasten(folder).edit('timeseries.py', **few).run('timeseries.py')
    assert folder.files('timeseries') == calm.files('timeseries')
    compare(folder, units(['Suriname']), days_between('2003-01-01', '2008-01-01'))


def test_parts_that_came_are_kept_while_others_are_tried_again(folder, standin):
    """Each comes once, also where another has used up its five tries, as some of 186 do."""
    standin.set(behaviour={'max_images': 8}, faults='create=0.45,table=0.25', fault_kinds='503')
    hasten(folder).replace('timeseries.py', 'tries=20', 'tries=5')
    folder.edit('timeseries.py', COUNTRIES=['Suriname'], START='2003-01-01', END='2005-01-01')
    folder.run('timeseries.py')
    compare(folder, units(['Suriname']), days_between('2003-01-01', '2005-01-01'))
    counts = standin.counts()
    assert counts['results'] == counts['items_served'] >= 6 * 12
    assert {row['outcome'] for row in folder.log('timeseries')} == {'begun', 'retry', 'done'}


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
