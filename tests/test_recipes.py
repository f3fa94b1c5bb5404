"""The README: its blocks are cut out, put into a script as it says there, run, and the results opened; what it
quotes and counts is compared with the scripts."""
import ast
import collections
import json
import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pandas
import pytest
import rasterio
import shapely
from PIL import Image

import datasets
import sentences
from conftest import HERE, LIMIT
from test_chips import alike, expected, scenes, sentinel, utm_grid
from test_timeseries import expected as expected_series, days_between, units

README = (HERE.parent / 'README.md').read_text(encoding='utf-8')
PLOTS = datasets.TABLES['projects/standin/assets/plots']()
TESTED = set()


def blocks():
    """{heading or summary of what is folded: its blocks of Python}."""
    found = collections.defaultdict(list)
    for heading, summary, text in re.findall(
            r'^#+ ([^\n]*)\n|<summary>([^\n]*)</summary>|^```python\n(.*?)^```$', README, re.M | re.S):
        if heading or summary:
            here = heading or summary
        else:
            found[here].append(text)
    return found


def under(words, count=1):
    """The blocks under the heading that has these words, which are so many."""
    heading, = [heading for heading in blocks() if words in heading]
    assert len(blocks()[heading]) == count
    TESTED.add(heading)
    return blocks()[heading]


def recipe(words, count=1):
    """Hands a test the blocks under a heading."""
    return pytest.mark.parametrize('texts', [under(words, count)], ids=[words])


def pieces(text):
    """The top level of a piece of Python, [(kind, name, first line, line after the last)]."""
    return [(type(node), node.targets[0].id if isinstance(node, ast.Assign) else getattr(node, 'name', ''),
             min(part.lineno for part in [node, *getattr(node, 'decorator_list', [])]) - 1, node.end_lineno)
            for node in ast.parse(text).body]


def put(folder, text):
    """Makes the change that a block says to the script that its first line names."""
    path = folder.path / text.split('\n')[0].removeprefix('# ')
    head, line, machinery = path.read_text().partition('\n# The machinery')
    lines = head.split('\n')
    for kind, name, first, last in pieces(text):
        assert kind in (ast.Assign, ast.FunctionDef)
        new, there = text.split('\n')[first:last], pieces('\n'.join(lines))
        old = [slice(*part[2:]) for part in there if part[1] == name]
        if old:
            lines[old[0]] = new
        elif kind is ast.Assign:
            place = max(part[3] for part in there if part[0] is kind)
            lines[place:place] = new
        else:
            place, = [part[2] for part in there if part[1] == 'getResult']
            lines[place:place] = [*new, '', '']
    path.write_text('\n'.join(lines) + line + machinery)
    return path.name


def median(lon, lat, start, end, bands, clear=True):
    """The median of what the scenes of some days show of some places."""
    box = lon.min(), lat.min(), lon.max(), lat.max()
    stack = [sentinel(scene, lon, lat, bands, clear) for scene in scenes(box, start, end)]
    return np.nanmedian(stack, axis=0)


def likeness(path, truth):
    """The share of a picture that shows reflectances up to 3000, transparent where they are NaN."""
    seen = ~np.isnan(truth[..., :1])
    truth = np.where(seen, np.clip(truth / 3000 * 255, 0, 255), 0)
    picture = np.array(Image.open(path).convert('RGBA'))
    return (abs(picture - np.dstack([truth, seen * 255])) <= 1).all(axis=2).mean()


def cells_in(shape, grid):
    """Columns, rows, longitudes and latitudes of the cells of a grid whose centre is in a shape."""
    a, _, left, _, e, top = grid.transform
    there = datasets.projector('EPSG:4326', grid.crs)
    x, y = there.transform(*shapely.get_coordinates(shape.segmentize(0.01)).T)
    col, row = (part.ravel() for part in np.meshgrid(
        np.arange((x.min() - left) // a, (x.max() - left) // a + 1),
        np.arange((y.max() - top) // e, (y.min() - top) // e + 1)))
    lon, lat = there.transform(left + (col + 0.5) * a, top + (row + 0.5) * e, direction='INVERSE')
    inside = shapely.contains_xy(shape, lon, lat)
    return col[inside].astype(int), row[inside].astype(int), lon[inside], lat[inside]


def requests(standin):
    """How many requests for results there were."""
    return sum(sum(standin.counts()['requests'].get(kind, {}).values())
               for kind in ('compute', 'create', 'pixels', 'table'))


@recipe('median of a summer', 2)
def test_sentinel(folder, texts):
    few = dict(POINTS_PER_ECOREGION=1, SIZE=40)
    folder.edit(put(folder, texts[0]), **few).run('chips.py')
    put(folder, texts[1])
    folder.run('chips.py')
    when, bands = ('2023-06-01', '2023-09-01'), [f'B{n}' for n in (1, 2, 3, 4, 5, 6, 7, 8, '8A', 9, 11, 12)]
    assert len(folder.files('sentinel')) == len(folder.files('sentinel_tif')) == 5
    for row in folder.table('sentinel/chips.csv'):
        crs, lon, lat = utm_grid(float(row['longitude']), float(row['latitude']), 40, 10)
        truth, path = median(lon, lat, *when, bands), folder.path / 'sentinel' / row['file']
        assert likeness(path, truth[..., [3, 2, 1]]) > 0.99
        # the comparison is not blind for bands nor for clouds
        assert likeness(path, truth[..., [1, 2, 3]]) < 0.5
        assert likeness(path, median(lon, lat, *when, ['B4', 'B3', 'B2'], clear=False)) < 0.5
        with rasterio.open(folder.path / 'sentinel_tif' / row['file'].replace('png', 'tif')) as image:
            assert image.crs.to_string() == crs and image.dtypes == ('uint16',) * 12
            assert alike(np.moveaxis(image.read(), 0, 2), np.floor(truth)) > 0.99


@recipe('nearest in time')
def test_nearest(folder, texts):
    places = [('a', -105.24, 40.015, '2023-07-15'), ('b', -105.24, 40.015, '2023-07-22'),
              ('c', -104.5, 38.2, '2019-01-03'), ('d', -104.5, 38.2, '2016-01-03')]
    (folder.path / 'points.csv').write_text('id,lon,lat,date\n' + ''.join(
        f'{name},{lon},{lat},{date}\n' for name, lon, lat, date in places))
    printed = folder.edit(put(folder, texts[0]), SIZE=32).run('chips.py')
    assert '3 of 4' in printed and '1 nothing: no scene within 15 days (d.png)' in printed
    told = {row['file']: row['why'] for row in folder.log('matched') if row['outcome'] == 'done'}
    shown = set()
    for name, lon, lat, date in places[:3]:
        row, = [row for row in folder.table('matched/chips.csv') if row['id'] == name]
        assert row['date'] == date
        crs, x, y = utm_grid(lon, lat, 32, 10)
        day = datasets.day_of(*map(int, date.split('-')))
        near = [scene for scene in scenes((lon, lat, lon, lat), *(
            str(datasets.date_of(day + away)) for away in (-15, 16)))]
        away = {scene: abs(scene.start / datasets.DAY - day) for scene in near}
        best = [scene for scene in near if away[scene] - min(away.values()) < 0.01]
        assert max(likeness(folder.path / 'matched' / row['file'], sentinel(scene, x, y, ['B4', 'B3', 'B2']))
                   for scene in best) > 0.99
        shown.add(datasets.date_of(best[0].start // datasets.DAY))
        # what getResult() returns stands in the log, and is counted at the end
        assert told[row['file']] == f'scene of {datasets.date_of(best[0].start // datasets.DAY)}'
        assert f'1 done: {told[row["file"]]} ({row["file"]})' in printed
    assert len(shown) == 3


@recipe('Several bands at your own points')
def test_values(folder, texts):
    places = {'a': (-105.2437, 40.0151), 'b': (-104.5003, 38.2002)}
    (folder.path / 'points.csv').write_text('id,lon,lat\n' + ''.join(
        f'{name},{lon},{lat}\n' for name, (lon, lat) in places.items()))
    when = '2023-06-01', '2023-07-01'
    folder.edit(put(folder, texts[0]), START=when[0], END=when[1]).run('chips.py')
    assert len(folder.files('values')) == 3
    for name, (lon, lat) in places.items():
        seen = sorted(scenes((lon, lat, lon, lat), *when), key=lambda scene: scene.start)
        rows = folder.table(f'values/{name}.csv')
        assert len(rows) == len(seen) > 3 and list(rows[0]) == ['date', 'B4', 'B8', 'SCL']
        for row, scene in zip(rows, seen):
            truth = sentinel(scene, np.array([[lon]]), np.array([[lat]]), ['B4', 'B8', 'SCL'])[0, 0]
            assert row['date'] == str(datasets.date_of(scene.start // datasets.DAY))
            assert [float(row[band]) for band in ('B4', 'B8', 'SCL')] == list(truth)

    # a masked value is an empty cell, and no image is no row
    modis = dict(COLLECTION='MODIS/061/MOD11A2', SCALE=1000, BANDS=['LST_Day_1km', 'QC_Day'])
    folder.edit('chips.py', OUTPUT='modis', END='2023-09-01', **modis).run('chips.py')
    days, empty = days_between(when[0], '2023-09-01'), 0
    for name, place in places.items():
        col, row = datasets.modis_cell(*place)
        lines = [[str(datasets.date_of(day)), '' if datasets.lst_masked(col, row, day) else
                  str(datasets.lst_raw(col, row, day)), str(datasets.lst_qc(col, row, day))] for day in days]
        empty += sum(not value for _, value, _ in lines)
        assert [[*line.values()] for line in folder.table(f'modis/{name}.csv')] == lines
    assert 0 < empty < 2 * len(days)
    folder.edit('chips.py', OUTPUT='none', START='1999-01-01', END='1999-02-01').run('chips.py')
    assert (folder.path / 'none' / 'a.csv').read_text().strip() == 'date,LST_Day_1km,QC_Day'


@recipe('in several years')
def test_years(folder, texts):
    points = folder.path / 'points.csv'
    points.write_text('id,lon,lat,kind\na,-105.24,40.01,wood\nb,-104.5,38.2,\n')
    folder.edit(put(folder, texts[0]), YEARS=[2017, 2018], SIZE=32)
    printed = folder.run('chips.py')
    assert '2 of 4 are in years' in printed
    assert '2 nothing: no image with R, G, B in 2018 (2018/a.png, 2018/b.png)' in printed
    before = folder.files('years')

    with points.open('a') as table:
        table.write('c,-107.1,39.3,lake\n')
    folder.edit('chips.py', YEARS=[2017, 2018, 2019])
    printed = folder.run('chips.py', status=1)
    assert 'YEARS is [2017, 2018, 2019] now and was [2017, 2018]; the file points.csv has changed.' in printed
    assert '6 of 9 are in years' in folder.run('chips.py', '--keep')
    after = folder.files('years')
    assert all(after[name] == before[name] for name in before if name != 'chips.csv')
    rows = folder.table('years/chips.csv')
    assert [(row['id'], row['photo_year'], row['kind']) for row in rows] == [
        (name, year, kind) for year in ('2017', '2018', '2019')
        for name, kind in (('a', 'wood'), ('b', ''), ('c', 'lake'))]
    for row in rows:
        assert row['file'] == f'{row["photo_year"]}/{row["id"]}.png'
        if row['photo_year'] == '2018':
            assert row['file'] not in after
            continue
        shown = np.array(Image.open(folder.path / 'years' / row['file']))
        assert alike(shown, expected(row, 32, 1, int(row['photo_year']))[..., :3]) > 0.99
        assert alike(shown, expected(row, 32, 1, int(row['photo_year']) + 2)[..., :3]) < 0.5


@recipe('Chips of your own')
def test_own_places(folder, texts):
    """With the table that stands below."""
    table = re.search(r'(?m)^    Site;.*\n(    .*\n)+', README)[0]
    (folder.path / 'points.csv').write_text(re.sub('(?m)^    ', '', table))
    printed = folder.edit(put(folder, texts[0]), SIZE=8).run('chips.py')
    assert 'points.csv: 2 places, columns Site as id, Latitude, Longitude, separated by semicolons, decimal' in printed
    hut, lake = folder.table('my_chips/chips.csv')
    assert {*folder.files('my_chips')} == {'chips.csv', 'hut.png', 'lake.png'}
    assert (hut['longitude'], hut['latitude'], hut['Slope']) == ('-105.27', '40.0125', '7')
    shown = np.array(Image.open(folder.path / 'my_chips' / 'lake.png'))
    assert alike(shown, expected(lake, 8, 1)[..., :3]) > 0.9


@recipe('Every image over a city')
def test_city(folder, texts):
    city, when = (-105.30, 39.96, -105.18, 40.07), ('2023-01-01', '2023-02-01')
    folder.edit(put(folder, texts[0]), END=when[1], SIZE=250, SCALE=50).run('chips.py')
    truth = {scene.index: scene for scene in scenes(city, *when)}
    rows = folder.table('city/images.csv')
    assert len(truth) > 5 and sorted(truth) == [row['id'] for row in rows]
    _, lon, lat = utm_grid(-105.24, 40.015, 250, 50)
    inside = (lon > city[0]) & (lon < city[2]) & (lat > city[1]) & (lat < city[3])
    assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any()  # the square holds the city
    for row in rows:
        assert row['file'] == row['id'] + '.png'
        values = sentinel(truth[row['id']], lon, lat, ['B4', 'B3', 'B2'])
        values[~inside] = np.nan
        assert likeness(folder.path / 'city' / row['file'], values) > 0.99


@recipe('composite of each month')
def test_months(folder, texts):
    folder.edit(put(folder, texts[0]), START='2022-11-01', END='2023-03-01', SIZE=64).run('chips.py')
    rows = folder.table('months/months.csv')
    months = ['2022-11', '2022-12', '2023-01', '2023-02', '2023-03']
    assert [row['file'] for row in rows] == [f'{month}.png' for month in months[:-1]]
    _, lon, lat = utm_grid(-105.24, 40.015, 64, 10)
    for row, start, end in zip(rows, months, months[1:]):
        assert (row['start'], row['end']) == (start + '-01', end + '-01')
        truth = median(lon, lat, row['start'], row['end'], ['B4', 'B3', 'B2'])
        assert likeness(folder.path / 'months' / row['file'], truth) > 0.99


ONE_BY_ONE = '''# timeseries.py
def getRequests():
    points = ee.FeatureCollection(POINTS).aggregate_array('.geo').getInfo()
    places = [point['coordinates'] for point in points]
    return [{'file': f'{index:05}.csv', 'west': lon - 1e-6, 'south': lat - 1e-6, 'east': lon + 1e-6,
             'north': lat + 1e-6} for index, (lon, lat) in enumerate(places)]
'''


@recipe('series that grows')
def test_growing(folder, texts):
    folder.edit(put(folder, texts[0]), YEARS=[2001], COUNTRIES=['Uruguay']).run('timeseries.py')
    before = folder.files('by_year')
    folder.edit('timeseries.py', YEARS=[2001, 2002]).run('timeseries.py', '--keep')
    after = folder.files('by_year')
    assert len(before) == 13 and len(after) == 25
    assert all(after[name] == before[name] for name in before if name != 'regions.csv')
    truth = units(['Uruguay'])
    rows = folder.table('by_year/regions.csv')
    assert sorted((row['id'], row['year']) for row in rows) == sorted(
        (name, year) for name in truth for year in ('2001', '2002'))
    for row in rows:
        properties, shape = truth[row['id']]
        assert row['ADM2_NAME'] == properties['ADM2_NAME']
        days = days_between(f'{row["year"]}-01-01', f'{int(row["year"]) + 1}-01-01')
        assert after[row['file']].decode().splitlines() == expected_series(shape, days)
        assert row['images'] == str(len(days)) and len(days) > 40


@recipe('one mosaic', 2)
def test_tiles(folder, texts, monkeypatch):
    area = [-105.2, 39.95, -105.1, 40.02]
    folder.edit(put(folder, texts[0]), AREA=area, SIZE=50, SCALE=90).run('chips.py')
    run_block(folder, texts[1], monkeypatch)
    rows = folder.table('tiles/tiles.csv')
    assert len(rows) > 5 and len(folder.files('tiles')) == len(rows) + 1
    there = datasets.projector('EPSG:4326', 'EPSG:32613')
    with rasterio.open(folder.path / 'area.tif') as image:
        assert image.crs.to_string() == 'EPSG:32613' and image.res == (90, 90)
        west, south, east, north = there.transform_bounds(*area)
        assert image.bounds.left <= west and image.bounds.bottom <= south
        assert image.bounds.right >= east and image.bounds.top >= north
        values = image.read(1)
        x = image.bounds.left + 90 * (np.arange(image.width) + 0.5)
        y = image.bounds.top - 90 * (np.arange(image.height) + 0.5)
    lon, lat = there.transform(*np.meshgrid(x, y), direction='INVERSE')
    truth = datasets.elevation(lon, lat)
    assert (values == truth).mean() > 0.99 > 0.5 > (values[:, 1:] == truth[:, :-1]).mean()


@recipe('very many points')
def test_cells(folder, new_folder, standin, texts):
    def sample(folder, *texts, **constants):
        for text in texts:
            put(folder, text)
        standin.reset()
        folder.edit('timeseries.py', POINTS='projects/standin/assets/plots', **constants)
        folder.run('timeseries.py')
        files = [row['file'] for row in folder.table('samples/cells.csv')]
        assert len(folder.files('samples')) == len(files) + 1
        header = 'id,lon,lat,Map,elevation,bio01,bio12'
        assert all((folder.path / 'samples' / name).read_text().split('\n')[0] == header for name in files)
        tables = [folder.table(f'samples/{name}') for name in files]
        found = sorted((row for table in tables for row in table), key=lambda row: int(row['id']))
        assert [int(row['id']) for row in found] == [row[1]['id'] for row in PLOTS]  # each once
        return found, tables, requests(standin)

    rows, tables, few = sample(folder, texts[0])
    assert [] in tables
    _, grid = datasets.IMAGES['ESA/WorldCover/v200'].find(None, None, None)[0].bands['Map']
    for row, (_, _, point) in zip(rows, PLOTS):
        assert abs(float(row['lon']) - point.x) < 1e-9 > abs(float(row['lat']) - point.y)
        a, _, left, _, e, top = grid.transform
        lon = left + a * (np.floor((point.x - left) / a) + 0.5)
        lat = top + e * (np.floor((point.y - top) / e) + 0.5)
        assert [float(row[band]) for band in ('Map', 'elevation', 'bio01', 'bio12')] == [
            datasets.land_cover(lon, lat), datasets.elevation(lon, lat),
            datasets.bioclim(1, lon, lat), datasets.bioclim(12, lon, lat)]
    # a line between two cells goes through a point
    cell = next(-point.x / 216 for _, _, point in PLOTS if -point.x / 216 * -216 == point.x)
    assert sample(new_folder(), texts[0], CELL=cell)[0] == rows
    single, _, many = sample(new_folder(), texts[0], ONE_BY_ONE)
    quarter, _, more = sample(new_folder(), texts[0], CELL=0.25)
    assert single == quarter == rows
    told = f'{many} requests point by point, {few} in cells of 0.5 degrees and {more} in cells of 0.25'
    assert told in ' '.join(README.split())


@recipe('very many points')
def test_cells_of_polygons(folder, texts):
    """Each counts once, with its mean, though a line between cells goes through the first of them."""
    shapes = {row[1]['id']: row[2] for row in datasets.TABLES['projects/standin/assets/fields']()}
    cell = shapes[1].centroid.x / -9000 + 1e-7
    put(folder, texts[0])
    folder.edit('timeseries.py', POINTS='projects/standin/assets/fields', REDUCER='mean', MARGIN=0.02, CELL=cell)
    folder.run('timeseries.py')
    found = [row for line in folder.table('samples/cells.csv')
             for row in folder.table(f'samples/{line["file"]}')]
    assert sorted(int(row['id']) for row in found) == sorted(shapes)
    _, grid = datasets.IMAGES['ESA/WorldCover/v200'].find(None, None, None)[0].bands['Map']
    for row in found:
        lon, lat = cells_in(shapes[int(row['id'])], grid)[2:]
        assert abs(float(row['elevation']) - datasets.elevation(lon, lat).mean()) < 0.01


@recipe('NumPy', 2)
def test_arrays(folder, texts, monkeypatch, capsys):
    """Of the chips that are there."""
    folder.edit(put(folder, texts[0]), POINTS_PER_ECOREGION=2, SIZE=32).run('chips.py', '--first', '5')
    made = run_block(folder, texts[1], monkeypatch)
    assert made['chips'].shape == (5, 32, 32, 4) and '(5, 32, 32, 4) uint8' in capsys.readouterr().out
    rows = [row for row in folder.table('arrays/chips.csv') if row['file'] in folder.files('arrays')]
    assert list(made['table'].file) == [row['file'] for row in rows]
    for chip, row in zip(made['chips'], rows):
        # the newest image may have no N, and is left out then
        assert max(alike(chip, expected(row, 32, 1, year)) for year in (2023, 2021, 2019)) > 0.99


@recipe('without a URL')
def test_json(folder, standin, texts):
    folder.edit(put(folder, texts[0]), COUNTRIES=['Ecuador', 'Chile']).run('timeseries.py')
    truth = units(['Ecuador', 'Chile'])
    rows = folder.table('landcover/regions.csv')
    assert {row['id'] for row in rows} == set(truth) and requests(standin) == len(rows) + 1
    side = 100 / 111319.49079327357
    grid = datasets.Grid('EPSG:4326', (side, 0, -180, 0, -side, 83), 0, 0)
    for row in rows:
        properties, shape = truth[row['id']]
        assert row['name'] == properties.get('ADM2_NAME', '')
        counts = json.loads((folder.path / 'landcover' / row['file']).read_text())
        classes = collections.Counter(datasets.land_cover(*cells_in(shape, grid)[2:]).tolist())
        assert sum(counts.values()) > 1000 and {int(name) for name in counts} == set(classes)
        assert all(abs(counts[str(name)] - count) <= 3 for name, count in classes.items())


def test_ndvi(folder):
    """The constants that a sentence of the README gives."""
    text, = re.findall(r'The mean NDVI of your own.*?\n\n', README, re.S)
    constants = {name: ast.literal_eval(value) for name, value in re.findall(r'`([A-Z_]+) = ([^`]*)`', text)}
    assert len(constants) == 12
    constants['REGIONS'] = asset = 'projects/standin/assets/fields'
    folder.edit('timeseries.py', **constants).edit('timeseries.py', START='2020-01-01', END='2020-12-01')
    folder.run('timeseries.py')
    rows, truth = folder.table('ndvi/fields.csv'), {row[0]: row[1:] for row in datasets.TABLES[asset]()}
    assert [row['name'] for row in rows] == sorted(row[0]['name'] for row in truth.values())
    days = [day for day in datasets.NDVI_DAYS if '2020-01-01' <= str(datasets.date_of(day)) < '2020-12-01']
    for row in rows:
        properties, shape = truth[row['id']]
        assert row['name'] == properties['name']
        col, cell_row, *_ = cells_in(shape, datasets.modis_grid(4))
        means = [datasets.texture(*datasets.MOD13Q1['NDVI'][1:], col, cell_row, day).mean() for day in days]
        table = folder.table('ndvi/' + row['file'])
        assert [line['date'] for line in table] == [str(datasets.date_of(day)) for day in days]
        assert all(abs(float(line['NDVI']) - mean * 0.0001) < 0.00006 for line, mean in zip(table, means))
        assert all(re.fullmatch(r'-?\d\.\d{4}', line['NDVI']) for line in table)


def run_block(folder, text, monkeypatch):
    """Runs a block that is a program of its own; returns its variables."""
    path = folder.path / text.split('\n')[0].removeprefix('# ')
    assert path.suffix == '.py' and not path.exists()
    path.write_text(text)
    monkeypatch.chdir(folder.path)
    monkeypatch.setenv('MPLBACKEND', 'Agg')
    return runpy.run_path(str(path))


@recipe('page with all chips')
def test_gallery(folder, texts, monkeypatch):
    folder.edit('chips.py', POINTS_PER_ECOREGION=3, SIZE=64).run('chips.py', '--first', '9')
    run_block(folder, texts[0], monkeypatch)
    assert len(texts[0].splitlines()) <= 20
    page = (folder.path / 'chips' / 'index.html').read_text()
    shown = re.findall(r'<h2>(.*?)</h2>|<img src="(.*?)".*?#map=15/(.*?)/(.*?)"', page)
    rows = {row['file']: row for row in folder.table('chips/chips.csv')}
    assert {name for _, name, *_ in shown if name} == {
        name for name in rows if (folder.path / 'chips' / name).exists()}
    group = None
    for heading, name, latitude, longitude in shown:
        group = heading or group
        assert heading or [rows[name][key] for key in ('latitude', 'longitude', 'ECO_NAME')] == [
            latitude, longitude, group]
    assert len(shown) == 9 + len({rows[name]['ECO_NAME'] for _, name, *_ in shown if name})
    assert '(tests/pictures/gallery.png)' in README  # which test_gallery.py makes
    assert (HERE / 'pictures' / 'gallery.png').stat().st_size < 100000


@recipe('series of a province')
def test_plot(folder, texts, monkeypatch):
    folder.edit('timeseries.py', COUNTRIES=['Uruguay'], START='2001-01-01', END='2003-01-01')
    folder.run('timeseries.py')
    variables = run_block(folder, texts[0], monkeypatch)
    lines = {line.get_label(): line for line in variables['axis'].get_lines()}
    here = [row for row in folder.table('timeseries/regions.csv') if row['ADM1_NAME'] == 'Artigas']
    assert len(lines) == len(here) == 4
    shapes, days = units(['Uruguay']), days_between('2001-01-01', '2003-01-01')
    for row in here:
        line = lines[f'({row["ADM2_NAME"]}, {row["file"]})']
        table = [text.split(',') for text in expected_series(shapes[row['id']][1], days)[1:]]
        truth = [float(value) if value else np.nan for _, value in table]
        assert np.isnan(truth).any()  # clouds
        assert np.allclose(np.asarray(line.get_ydata(), float), truth, equal_nan=True)
        assert [str(date)[:10] for date in pandas.to_datetime(line.get_xdata())] == [date for date, _ in table]
    assert '(tests/pictures/series.png)' in README  # which shows one like it
    for path in folder.path / 'series.png', HERE / 'pictures' / 'series.png':
        assert Image.open(path).width > 500 and path.stat().st_size < 100000


@recipe('All in one table', 2)
def test_table_and_cube(folder, standin, texts, monkeypatch, capsys):
    """Both skip what isn't there."""
    folder.edit('timeseries.py', COUNTRIES=['Uruguay', 'Chile'], START='2001-05-01', END='2001-08-13')
    folder.run('timeseries.py', '--first', '20')
    run_block(folder, texts[0], monkeypatch)
    table = pandas.read_parquet(folder.path / 'series.parquet')
    there = [row for row in folder.table('timeseries/regions.csv') if row['file'] in folder.files('timeseries')]
    truth, days = units(['Uruguay', 'Chile']), days_between('2001-05-01', '2001-08-13')
    assert len(there) == 20 and len(table) == 20 * len(days)
    for row in there:
        part = table[table.file == row['file']]
        assert set(part.id) == {row['id']} and set(part.ADM2_NAME.fillna('')) == {row['ADM2_NAME']}
        lines = [f'{date:%Y-%m-%d},' + ('' if np.isnan(value) else f'{value:.2f}')
                 for date, value in zip(part.date, part.LST_Day_1km)]
        assert lines == expected_series(truth[row['id']][1], days)[1:]

    # of November there is one image, of December none, and October's file was deleted
    standin.set(behaviour={'archive_end': '2022-11-05'})
    folder.edit(put(folder, under('composite of each month')[0]), FORMAT='tif', SIZE=64, SCALE=90,
                START='2022-09-01', END='2023-01-01')
    assert '1 nothing: ' in folder.run('chips.py')
    (folder.path / 'months' / '2022-10.tif').unlink()
    capsys.readouterr()
    cube = run_block(folder, texts[1], monkeypatch)['cube']
    assert "'time': 2, 'band': 3, 'y': 64, 'x': 64" in capsys.readouterr().out
    assert [str(time)[:10] for time in cube.time.values] == ['2022-09-01', '2022-11-01']
    crs, lon, lat = utm_grid(-105.24, 40.015, 64, 90)
    x, y = datasets.projector('EPSG:4326', crs).transform(lon, lat)
    assert np.allclose(cube.x, x[0], atol=1e-3) and np.allclose(cube.y, y[:, 0], atol=1e-3)
    assert cube.attrs['crs'] == crs
    for layer, start, end in zip(cube, ('2022-09-01', '2022-11-01'), ('2022-10-01', '2022-11-05')):
        truth = median(lon, lat, start, end, ['B4', 'B3', 'B2'])
        same = np.isclose(np.moveaxis(layer.values, 0, 2), truth, equal_nan=True)
        assert same.all(axis=2).mean() > 0.99
    assert 0.1 < np.isnan(cube[1]).mean() < 0.9


def test_no_block_is_left_over():
    assert TESTED == set(blocks())


def templates(text):
    """The pieces of each text with some words in a piece of Python, what stands for values left out."""
    for node in ast.walk(ast.parse(text)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        pieces = [part.value.strip('\n') for part in parts
                  if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if ' ' in ''.join(pieces):
            yield pieces


SAYS = README.partition('| it says |')[2].partition('## ')[0]
QUOTED = [text for pair in re.findall(r'^\| `([^|]*?)`(?: and `([^|]*)`)? \|', SAYS, re.M) for text in pair if text] + [
    line.strip() for line in README.split('\n') if re.match(r' +(MAX is|Of 35|4000 of|points.csv: 35)', line)]


# words of these that are values, or Python's own
VALUES = {*"""points csv chips py hut png MAX Site id Latitude Longitude latitude semicolons again failed
    Stopped No module named ee NameError name imge defined minutes places""".split()}


def test_what_the_readme_quotes_is_what_the_scripts_say():
    """But for values, such as numbers and names."""
    known = [pieces for name in ('chips.py', 'timeseries.py')
             for pieces in templates((HERE.parent / name).read_text('utf-8'))]
    known += [[row.text] for row in sentences.SENTENCES if row.mark == sentences.RECORDED]
    assert len(QUOTED) > 18
    for text in QUOTED:
        if text.endswith(': ...'):
            assert any(pieces[0].startswith(text.removesuffix(' ...')) for pieces in known), text
            continue
        rest = [*text]
        for pieces in known:
            for found in re.finditer('.*?'.join(f'({re.escape(piece)})' for piece in pieces), text):
                for number in range(1, len(pieces) + 1):
                    rest[slice(*found.span(number))] = ' ' * len(found[number])
        assert {*re.findall(r'[A-Za-z]{2,}', ''.join(rest))} <= VALUES, text


def constants(script):
    """The top level of a script, {name: its value as syntax}."""
    return {node.targets[0].id: node.value for node in ast.parse((HERE.parent / script).read_text('utf-8')).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}


def test_the_readmes_lists_are_those_of_the_scripts():
    text, found = ' '.join(README.split()), constants('chips.py')
    kinds = ', '.join(f"`'{kind.value}'`" for kind in found['kinds'].keys)
    assert f'The kind is {kinds}, the list of a CSV' in text
    free = re.search(r'Comments, docstrings, imports, `(\w+)\(\)`, `(\w+)\(\)`, ([A-Z, ]+) and ([A-Z]+) may change at any '
                     'time', text)
    assert {free[1], free[2], *free[3].split(', '), free[4]} == ast.literal_eval(
        found['not_in_recipe']) - {'program', 'tell_early'}


@pytest.mark.skipif(os.name == 'nt', reason='the line is for a shell')
def test_the_line_for_a_night(folder):
    """With a mail command that writes down what it gets."""
    line, = re.findall(r'^    (nohup .*) &$', README, re.M)
    places = folder.path / 'bin'
    places.mkdir()
    (places / 'mail').write_text('#!/bin/sh\necho "$@" > mailed\ncat >> mailed\n')
    (places / 'python').write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for path in places.iterdir():
        path.chmod(0o755)
    folder.edit('chips.py', POINTS_PER_ECOREGION=1, SIZE=8)
    environ = {**folder.standin.environ, 'PATH': f'{places}:{os.environ["PATH"]}'}
    subprocess.run(['bash', '-c', line], cwd=folder.path, env=environ, check=True, timeout=LIMIT)
    mailed = (folder.path / 'mailed').read_text()
    assert mailed.startswith('-s chips: 0 you@example.org\n') and '4 of 4 are in chips' in mailed
    assert len(folder.files('chips')) == 5
