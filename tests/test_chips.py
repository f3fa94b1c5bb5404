"""What chips.py leaves in its folder, compared with the closed formulas of the stand-in's datasets."""
import datetime
import importlib.util
import io
import re
import sys
import textwrap
import time
import types

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from PIL import Image

import datasets
from conftest import BRIEF, HERE, said

sys.path.insert(0, str(HERE.parent))
import chips  # noqa: E402  its functions that need no service; importing it asks for nothing

GEOD = pyproj.Geod(ellps='WGS84')
FEW = dict(POINTS_PER_ECOREGION=3, PROCESSES=5)
MIDDLE = -105.24375, 40.03125  # of a NAIP tile in Colorado, which holds all around it


def utm_grid(longitude, latitude, width, scale, height=None):
    """EPSG code of the UTM zone of a place, and longitudes and latitudes of the pixel centres of a
    chip on the grid of multiples of scale, whose middle is within half a pixel of the place."""
    zone = int((longitude + 180) // 6) % 60 + 1
    crs = f'EPSG:{(32600 if latitude >= 0 else 32700) + zone}'
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, latitude)
    height = height or width
    left = np.round((x - width * scale / 2) / scale) * scale
    top = np.round((y + height * scale / 2) / scale) * scale
    columns, rows = np.meshgrid(left + (np.arange(width) + 0.5) * scale,
                                top - (np.arange(height) + 0.5) * scale)
    back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    return crs, *back.transform(columns, rows)


def expected(row, size, scale, year=2023):
    """The R, G, B, N that NAIP has for a row of chips.csv; the newest year is odd in Colorado."""
    crs, lon, lat = utm_grid(float(row['longitude']), float(row['latitude']), size, scale)
    assert crs == row['crs']
    return np.dstack([datasets.naip_band(band, lon, lat, year) for band in 'RGBN'])


def alike(picture, truth):
    """The share of pixels that are the same; a few fall on the other side of a rounding."""
    assert picture.shape == truth.shape
    return (picture == truth).all(axis=2).mean()


def picture(folder, row):
    """The pixels of a PNG or JPEG in the folder chips, as integers."""
    return np.array(Image.open(folder.path / 'chips' / row['file'])).astype(int)


def write_points(folder, *places):
    """Writes points.csv with these places, (longitude, latitude), and has chips.py take them."""
    lines = ''.join(f'{n},{x},{y}\n' for n, (x, y) in enumerate(places))
    (folder.path / 'points.csv').write_text(f'id,lon,lat\n{lines}')
    return folder.edit('chips.py', POINTS='points.csv')


def add_code(folder, code, script='chips.py'):
    """Adds functions or constants at the end of the user's part of a script, where they stand for
    others of the same name."""
    code = textwrap.dedent(code).strip()
    return folder.replace(script, '\n# The machinery', f'\n{code}\n\n\n# The machinery')


def load(folder, script='chips.py'):
    """Imports a script of a folder as a module, whatever else was imported under its name."""
    spec = importlib.util.spec_from_file_location(f'edited_{script[:-3]}', folder.path / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flights(place):
    """{year: day on which NAIP flew a place in Colorado, in colour}."""
    i, j = (int(angle // datasets.QUARTER) for angle in place)
    whole = {year: [scene for scene in datasets.naip_scenes(i, j, year) if 'B' in scene.bands][0]
             for year in (2009, 2011, 2013, 2015, 2017)}
    return {year: datasets.date_of(scene.start // datasets.DAY) for year, scene in whole.items()}


def sentinel(scene, lon, lat, bands, clear=False):
    """What a scene shows of some places; NaN where it doesn't, if clear also where clouds are."""
    def layer(band):
        a, _, left, _, e, top = scene.bands[band][1].transform
        x, y = datasets.projector('EPSG:4326', scene.bands[band][1].crs).transform(lon, lat)
        col, row = (np.floor(part).astype(int) for part in ((x - left) / a, (y - top) / e))
        inside = (col >= 0) & (col < scene.bands[band][1].width) & (row >= 0) & (
            row < scene.bands[band][1].height)
        place = types.SimpleNamespace(col=col, row=row, lon=lon, lat=lat)
        return np.where(inside, scene.value(band, place)[0], np.nan)
    good = layer('SCL') != 9 if clear else True
    return np.dstack([np.where(good, layer(band), np.nan) for band in bands])


def scenes(box, start, end):
    """The Sentinel-2 scenes that show a part of a box, from start to before end."""
    first, last = (datasets.day_of(*map(int, day.split('-'))) * datasets.DAY for day in (start, end))
    return [scene for scene in datasets.IMAGES['COPERNICUS/S2_SR_HARMONIZED'].find(box, first, last)
            if first <= scene.start < last and scene.footprint.intersects(shapely.box(*box))]


@BRIEF
def test_chips_show_the_place_they_are_named_for(folder):
    folder.edit('chips.py', **FEW)
    printed = folder.run('chips.py')
    assert '12 of 12 are in chips, listed in chips.csv.' in printed and 'Warning' not in printed
    rows = folder.table('chips/chips.csv')
    files = folder.files('chips')
    assert sorted(files) == sorted([row['file'] for row in rows] + ['chips.csv'])
    assert list(rows[0]) == ['file', 'longitude', 'latitude', 'ECO_ID', 'ECO_NAME', 'crs']
    for row in rows:
        shown = picture(folder, row)
        assert alike(shown, expected(row, 256, 1)[..., :3]) > 0.99
        # one pixel aside is another picture: the comparison is not blind
        assert alike(shown[:, 1:], expected(row, 256, 1)[:, :-1, :3]) < 0.5
        assert alike(shown[1:], expected(row, 256, 1)[:-1, :, :3]) < 0.5


def test_points_are_random_in_each_ecoregion_and_the_same_for_the_same_seed(folder, new_folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=25, FORMAT='npy', SIZE=2)
    folder.run('chips.py', '--first', '1')  # what counts is the list
    rows = folder.table('chips/chips.csv')
    shapes = {}
    for eco_id, (name, *_), shape in datasets.ECOREGIONS:
        shapes.setdefault((str(eco_id), name), []).append(shape)
    colorado = shapely.box(*datasets.COLORADO)
    for key, parts in shapes.items():
        here = [row for row in rows if (row['ECO_ID'], row['ECO_NAME']) == key]
        shape = shapely.union_all(parts) & colorado
        assert len(here) == (25 if shape.area else 0)  # one touches Colorado from outside
        if not here:
            continue
        points = shapely.points([(float(row['longitude']), float(row['latitude'])) for row in here])
        assert shapely.contains(shape.buffer(0.001), points).all()
        if shape.area > 1:  # spread over all of it, not over a corner
            assert shapely.convex_hull(shapely.union_all(points)).area > shape.area / 3
    lon, lat = (np.array([float(row[name]) for row in rows]) for name in ('longitude', 'latitude'))
    assert len({*zip(lon, lat)}) == len(rows)
    hundreds = np.floor(lat * 1113.195) % 10  # of metres: not all on a lattice of 1 km
    assert len({*hundreds}) == 10

    same, other = new_folder(), new_folder()
    few = dict(POINTS_PER_ECOREGION=25, FORMAT='npy', SIZE=2)
    same.edit('chips.py', **few).run('chips.py', '--first', '1')
    other.edit('chips.py', **few, SEED=1).run('chips.py', '--first', '1')
    assert same.table('chips/chips.csv') == rows
    assert other.table('chips/chips.csv') != rows


def test_points_do_not_depend_on_the_order_in_which_they_come(folder, new_folder, standin):
    few = dict(POINTS_PER_ECOREGION=5, FORMAT='npy', SIZE=2)
    folder.edit('chips.py', **few).run('chips.py', '--first', '1')
    standin.set(behaviour='sample_order=shuffled')
    other = new_folder()
    other.edit('chips.py', **few).run('chips.py', '--first', '1')
    assert other.files('chips')['chips.csv'] == folder.files('chips')['chips.csv']


def test_an_ecoregion_that_is_too_small_gives_what_it_has_and_each_run_says_so(folder):
    # some 27 x 2 km of one lie in Colorado: a row or two of this lattice
    folder.edit('chips.py', POINTS_PER_ECOREGION=40, SPACING=2000, FORMAT='npy', SIZE=2)
    for _ in range(2):
        printed = folder.run('chips.py', '--first', '1')
        names = [row['ECO_NAME'] for row in folder.table('chips/chips.csv')]
        few = {name: names.count(name) for name in names if names.count(name) < 40}
        assert [*few] == ['Wyoming Basin shrub steppe']
        for name, count in few.items():
            assert 10 < count and printed.count(f'Warning: {name} has {count} points, not 40.') == 1
        assert printed.count('Warning') == len(few)


def test_places_in_no_ecoregion_are_left_out(folder):
    """The stand-in knows no ecoregion of the west of Utah."""
    folder.edit('chips.py', REGION={'ADM1_NAME': 'Utah'}, POINTS_PER_ECOREGION=5, SIZE=8).run('chips.py')
    rows = folder.table('chips/chips.csv')
    assert [row['ECO_ID'] for row in rows] == ['430'] * 5
    assert all(-112 <= float(row['longitude']) <= -109 for row in rows)


def test_random_places_are_as_dense_in_the_north_as_in_the_south(folder):
    """All places of a lattice in the ice of Greenland, ten degrees high, which is ecoregion 0: as
    many to the area above and below, none nearer than SPACING but for 1 %, and not rounded."""
    folder.edit('chips.py', REGION_TABLE='RESOLVE/ECOREGIONS/2017', REGION={'ECO_ID': 0},
                SPACING=25000, POINTS_PER_ECOREGION=9999, FORMAT='npy', SIZE=2)
    folder.run('chips.py', '--first', '1', status=1)  # NAIP has no image there
    rows = folder.table('chips/chips.csv')
    assert {(row['ECO_ID'], row['ECO_NAME']) for row in rows} == {('0', 'Rock and Ice')}
    lon, lat = (np.array([float(row[name]) for row in rows]) for name in ('longitude', 'latitude'))
    for south, north in (65, 70), (70, 75):
        box = shapely.box(-45, south, -35, north).segmentize(0.1)  # its edges are no geodesics
        area = abs(GEOD.geometry_area_perimeter(box)[0])
        count = ((south < lat) & (lat < north)).sum()
        assert abs(count * 25000 ** 2 / area - 1) < 0.05 and count > 250
    away = np.array([np.sort(GEOD.inv(*np.broadcast_arrays(x, y, lon, lat))[2])[1:5]
                     for x, y in zip(lon, lat)])
    assert away[:, 0].min() > 24750
    inner = (-44 < lon) & (lon < -36) & (65.5 < lat) & (lat < 74.5)
    assert away[inner].max() < 25250 and inner.sum() > 300  # all four beside it are there
    digits = [len(row[name].partition('.')[2]) for row in rows for name in ('longitude', 'latitude')]
    assert np.median(digits) > 10


def test_random_points_in_the_south(folder):
    """REGION_TABLE may be any table: here REGION is an ecoregion of Brazil."""
    folder.edit('chips.py', REGION_TABLE='RESOLVE/ECOREGIONS/2017', REGION={'ECO_ID': 491}, SPACING=1000,
                POINTS_PER_ECOREGION=2, COLLECTION='COPERNICUS/S2_SR_HARMONIZED', START='2023-07-01',
                END='2023-07-06', BANDS=['B4'], FORMAT='tif', SCALE=10, SIZE=8).run('chips.py')
    rows = folder.table('chips/chips.csv')
    assert [row['crs'] for row in rows] == ['EPSG:32723'] * 2
    for row in rows:
        with rasterio.open(folder.path / 'chips' / row['file']) as image:
            assert image.crs.to_string() == 'EPSG:32723'


@pytest.mark.parametrize('constants,fine', [
    pytest.param(dict(SIZE=2890), True, id='3 bands, 47.8 MB'),
    pytest.param(dict(SIZE=2960), False, id='3 bands, 50.1 MB'),
    pytest.param(dict(SIZE=2890, BANDS=['R']), True, id='a picture of one, 47.8 MB'),
    pytest.param(dict(SIZE=2960, BANDS=['R']), False, id='a picture of one, 50.1 MB'),
    pytest.param(dict(SIZE=3540, BANDS=['R', 'N'], FORMAT='tif'), True, id='2 bands, 47.8 MB'),
    pytest.param(dict(SIZE=3630, BANDS=['R', 'N'], FORMAT='tif'), False, id='2 bands, 50.3 MB')])
def test_size_limit_of_48_mb(monkeypatch, constants, fine):
    """That of the service, by its documentation, with a byte a pixel for the mask."""
    for name, value in constants.items():
        monkeypatch.setattr(chips, name, value)
    if fine:
        chips.check_constants()
        return
    with pytest.raises(SystemExit, match='50 MB or more, .* at most 48: lower SIZE'):
        chips.check_constants()


@pytest.mark.parametrize('form', ['tif', 'npy', 'jpg'])
def test_formats(folder, form):
    bands = ['N', 'G'] if form != 'jpg' else ['R', 'G', 'B']
    folder.edit('chips.py', FORMAT=form, BANDS=bands, SIZE=64, SCALE=2.5, **FEW)
    folder.run('chips.py')
    files = folder.files('chips')
    for row in folder.table('chips/chips.csv'):
        truth = expected(row, 64, 2.5)
        body = io.BytesIO(files[row['file']])
        if form == 'tif':
            with rasterio.open(body) as image:
                assert image.crs.to_string() == row['crs'] and image.res == (2.5, 2.5)
                assert not any(part % 2.5 for part in (image.transform.c, image.transform.f))
                x, y = pyproj.Transformer.from_crs(4326, row['crs'], always_xy=True).transform(
                    float(row['longitude']), float(row['latitude']))
                assert (abs(np.array(image.xy(31.5, 31.5)) - (x, y)) <= 1.2501).all()
                assert alike(np.moveaxis(image.read(), 0, 2), truth[..., [3, 1]]) > 0.99
        elif form == 'npy':
            array = np.load(body)
            assert array.dtype.names == ('N', 'G')
            assert alike(np.dstack([array['N'], array['G']]), truth[..., [3, 1]]) > 0.99
        else:
            image = Image.open(body)
            assert image.format == 'JPEG' and image.size == (64, 64)
            # what is lost is that of this quality, but for the pixels that are rounded otherwise
            Image.fromarray(truth[..., :3]).save(again := io.BytesIO(), 'JPEG', quality=90)
            away = abs(np.array(image).astype(int) - np.array(Image.open(again)))
            assert away.mean() < 1 and np.array(image).std() > 20


def test_stretch(folder):
    folder.edit('chips.py', MIN=100, MAX=[200, 200, 150], **FEW)
    folder.run('chips.py')
    for row in folder.table('chips/chips.csv'):
        shown = picture(folder, row)
        truth = expected(row, 256, 1)[..., :3].astype(int)
        low, high = truth <= 100, truth >= [200, 200, 150]
        inside = np.broadcast_to(True, low.shape) & ~low & ~high
        assert (shown[low] == 0).mean() > 0.99 and (shown[high] == 255).mean() > 0.99
        stretched = (truth - 100) * 255 / [100, 100, 50]
        assert (abs(shown - stretched)[inside] <= 1).mean() > 0.99


def test_grid_anywhere_on_earth(folder):
    """Pixels of SCALE metres within 1 %, north up, the place within half a pixel of the middle."""
    write_points(folder, (7.2, -60), (5.9999, 69.9), (6.0001, 69.9), (-179.99999, 12),
                 (179.99999, -33.3), (180, 0.0), (-75.0, -0.00001), (-75, 0.00001), (0, 51.5),
                 (-102.0, 40.9), (149.1, -35.3))
    add_code(folder, '''
        @retry(**PATIENCE)
        def getResult(index, point):
            save_chip(point, ee.Image.pixelLonLat(), point['longitude'], point['latitude'])
        ''')
    folder.edit('chips.py', FORMAT='npy', SIZE=32, SCALE=10).run('chips.py')
    rows = folder.table('chips/chips.csv')
    assert [row['crs'] for row in rows] == [
        f'EPSG:{code}' for code in (32732, 32631, 32632, 32601, 32760, 32601, 32718, 32618, 32631,
                                    32614, 32755)]
    for row in rows:
        array = np.load(folder.path / 'chips' / row['file'])
        lon, lat = array['longitude'], array['latitude']
        assert lon.shape == (32, 32)

        def step(a, b):
            azimuth, _, metres = GEOD.inv(lon[a], lat[a], lon[b], lat[b])
            return azimuth, metres
        azimuth, metres = step((16, 0), (16, 31))
        assert abs(metres / 31 - 10) < 0.1 and abs(azimuth - 90) < 3.1
        azimuth, metres = step((31, 16), (0, 16))
        assert abs(metres / 31 - 10) < 0.1 and abs(azimuth) < 3.1
        middle = GEOD.fwd(lon[0, 0], lat[0, 0], *np.array(step((0, 0), (31, 31))) / [1, 2])[:2]
        azimuth, _, metres = GEOD.inv(*middle, float(row['longitude']), float(row['latitude']))
        assert metres * max(abs(np.sin(np.radians(azimuth))), abs(np.cos(np.radians(azimuth)))) < 5.5


def test_sentinel_2_comes_pixel_for_pixel(folder):
    """On the grid of multiples of 10 m in its own zone nothing is resampled."""
    places = [(-105.24, 40.015), (-105.2398, 40.0151), (-102.5, 39.1), (-70.1, -33.4)]
    when, bands = ('2023-07-01', '2023-07-06'), ['B4', 'B3', 'B2', 'B11']
    write_points(folder, *places).edit(
        'chips.py', COLLECTION='COPERNICUS/S2_SR_HARMONIZED', START=when[0], END=when[1],
        BANDS=bands, FORMAT='tif', SCALE=10, SIZE=31)
    folder.run('chips.py')
    chips = []
    for row, place in zip(folder.table('chips/chips.csv'), places):
        crs, lon, lat = utm_grid(*place, 31, 10)
        box = lon.min(), lat.min(), lon.max(), lat.max()
        truth = np.nan
        for scene in sorted(scenes(box, *when), key=lambda scene: scene.start):
            layer = sentinel(scene, lon, lat, bands)
            truth = np.where(np.isnan(layer), truth, layer)
        with rasterio.open(folder.path / 'chips' / row['file']) as image:
            chips.append((image.transform, image.read()))
            assert image.crs.to_string() == crs
            assert (chips[-1][1] == np.moveaxis(truth, 2, 0)).all()
    (one, pixels), (two, others) = chips[:2]  # these overlap: they share their pixels
    x, y = (round(part) for part in ~one * (two.c, two.f))
    assert 0 < x < 31 and -31 < y < 0
    assert (pixels[:, :31 + y, x:] == others[:, -y:, :31 - x]).all()


def test_the_newest_image_from_start_to_before_end_is_on_top_whatever_the_order(folder, standin):
    """Also with an image on START itself, and one on END, to the day."""
    days = flights(MIDDLE)
    for order in 'time', 'reversed':
        standin.set(behaviour=f'collection_order={order}')
        for start, end, shown in (
                ('2009-01-01', '2016-01-01', 2015), (days[2013], days[2015], 2013),
                (days[2015], days[2015].replace(day=days[2015].day % 28 + 1), None),
                ('2005-01-01', days[2009], 2007)):
            write_points(folder, MIDDLE).edit('chips.py', SIZE=8, START=str(start), END=str(end),
                                              OUTPUT=f'chips {start} {end} {order}')
            if shown is None and end < start:
                continue
            folder.run('chips.py')
            row, = folder.table(f'chips {start} {end} {order}/chips.csv')
            found = np.array(Image.open(folder.path / f'chips {start} {end} {order}' / row['file']))
            assert alike(found, expected(row, 8, 1, shown or 2015)[..., :3]) == 1


def test_a_period_between_two_images_has_none(folder):
    """It begins on the day after one and ends on that of the next."""
    days = flights(MIDDLE)
    start, end = str(days[2015] + datetime.timedelta(1)), str(days[2017])
    write_points(folder, MIDDLE).edit('chips.py', SIZE=8, START=start, END=end)
    assert f'1 nothing: no image with R, G, B between {start} and {end}' in folder.run('chips.py', status=1)


@pytest.mark.parametrize('place', [(-105.25 + 0.0005, 40.0 + 0.0005), (-105.25 + 0.0075, 40.0 + 0.0058)],
                         ids=['near', 'at a corner'])
def test_images_beside_the_middle_are_seen_too(folder, place):
    """A chip across the edge of a tile has the pixels of all tiles around, also 640 m from the edge,
    where SIZE metres reach none of them; each has 300 m of the next."""
    write_points(folder, place).edit('chips.py', SCALE=8).run('chips.py')
    row, = folder.table('chips/chips.csv')
    assert alike(picture(folder, row), expected(row, 256, 8)[..., :3]) > 0.99


def test_the_corners_of_a_chip_are_seen_too(folder):
    """Of four tiles one is 4 km away in both directions, and shows 0.9 km of a corner of 10 km chips alone."""
    east, north = 3950 / 85200, 3950 / 111000  # degrees
    write_points(folder, *((-105.25 + x * east, 40.0625 + y * north) for x in (-1, 1) for y in (-1, 1)))
    folder.edit('chips.py', SCALE=40).run('chips.py')
    for number in range(4):
        image = Image.open(folder.path / 'chips' / f'{number}.png')
        assert image.mode == 'RGB' and image.size == (256, 256)  # nothing is masked


def test_a_region_in_the_sea(folder):
    folder.edit('chips.py', REGION_TABLE='projects/standin/assets/sea', REGION={'name': 'sea'})
    assert said(folder.run('chips.py', status=1)) == ["REGION: no ecoregion has land in {'name': 'sea'}."]


def test_a_place_with_no_image_is_no_failure(folder, standin):
    """It is told with its reason by this run and by each later one, and not asked for again."""
    write_points(folder, MIDDLE, (10, 45), (11, 46)).edit('chips.py', SIZE=8)
    told = '2 nothing: no image with R, G, B between 2015-01-01 and 2025-01-01 (1.png, 2.png)'
    assert told in folder.run('chips.py')
    standin.reset()
    printed = folder.run('chips.py')
    assert told in printed and '1 of 3' in printed and not standin.counts()['requests']
    (folder.path / 'chips' / '0.png').unlink()
    folder.run('chips.py')
    assert standin.counts()['results'] == 1


def test_nothing_anywhere_is_a_failure(folder):
    printed = write_points(folder, (10, 45), (11, 46)).edit('chips.py', SIZE=8).run('chips.py', status=1)
    assert '0 of 2' in printed and '2 nothing: no image' in printed
    folder.edit('chips.py', BANDS=['R', 'G', 'X'], POINTS=None, **FEW)
    told = [line for line in said(folder.run('chips.py', status=1)) if 'no image with R, G, X' in line]
    assert len(told) == 1  # a typing error is told once


def test_chips_that_are_not_square(folder):
    """save_chip() for a user's own getResult()."""
    write_points(folder, (-102.002, 40.5)).edit('chips.py', FORMAT='tif', SIZE=8)
    add_code(folder, '''
        @retry(**PATIENCE)
        def getResult(index, point):
            place = ee.Geometry.Point(point['longitude'], point['latitude'])
            images = ee.ImageCollection(COLLECTION).filterBounds(place.buffer(100))
            images = images.filterDate('2022-01-01', '2023-01-01').select(['R', 'G'])
            save_chip(point, images.mosaic(), point['longitude'], point['latitude'], 50, height=20,
                      scale=3)
        ''').run('chips.py')
    with rasterio.open(folder.path / 'chips' / '0.tif') as image:
        assert image.shape == (20, 50) and image.res == (3, 3)
        _, lon, lat = utm_grid(-102.002, 40.5, 50, 3, 20)
        truth = np.dstack([datasets.naip_band(band, lon, lat, 2022) for band in 'RG'])
        assert alike(np.moveaxis(image.read(), 0, 2), truth) > 0.99


ZONES = [  # longitude, latitude, EPSG code, with an id
    pytest.param(*row, id=name) for name, *row in (
        ('west of a border', 5.9999, 69.9, 32631), ('on a border', 6, 69.9, 32632),
        ('first zone', -180, 12, 32601), ('last zone', 179.99999, -33.3, 32760),
        ('180 degrees east', 180, 0.0, 32601), ('equator', -75, 0, 32618),
        ('just south of it', -75, -0.00001, 32718), ('Greenwich', 0, 51.5, 32631),
        ('far south', 7.2, -79, 32732))]


@pytest.mark.parametrize('longitude,latitude,code', ZONES)
def test_utm_zones(longitude, latitude, code):
    """As another formula has them, and back again by its own inverse."""
    crs, easting, northing = chips.utm(longitude, latitude)
    assert crs == f'EPSG:{code}'
    back = pyproj.Transformer.from_crs(code, 4326, always_xy=True).transform(easting, northing)
    away = GEOD.inv(longitude, latitude, *back)[2]
    assert away < 0.001 and 160e3 < easting < 840e3
    assert northing >= 0 and (northing > 1e6) == (abs(latitude) > 10 or latitude < 0)


def test_utm_in_the_zone_of_another_place():
    """What utm() returned it also takes: a box across a border of zones, or across the equator."""
    west = chips.utm(-102.002, 40.5)
    east = chips.utm(-101.998, 40.5, west[0])
    assert west[0] == east[0] == 'EPSG:32613' != chips.utm(-101.998, 40.5)[0]
    metres = GEOD.inv(-102.002, 40.5, -101.998, 40.5)[2]
    # the scale of UTM at the border of a zone is 1.0002 here
    assert abs(np.hypot(east[1] - west[1], east[2] - west[2]) / metres - 1.0002) < 0.0003
    north, south = chips.utm(-74, 0.001), chips.utm(-74, -0.001, 'EPSG:32618')
    assert south[0] == 'EPSG:32618' and -115 < south[2] < -110 < 110 < north[2] < 115


@pytest.mark.parametrize('place', [(-105.24, 40.015), (-70.1, -33.4), (12.3456789, 0.00001)],
                         ids=['north', 'south', 'equator'])
@pytest.mark.parametrize('width,height,scale', [(256, 256, 1), (31, 31, 10), (50, 20, 2.5), (3, 1, 30)],
                         ids=['even', 'odd', 'not square', 'few'])
def test_grid(place, width, height, scale):
    """On multiples of scale, north up, the place within half a pixel of the middle."""
    found = chips.grid(*place, width, height, scale)
    assert [*found] == ['crs', 'dimensions', 'crs_transform']
    assert found['crs'] == chips.utm(*place)[0] and found['dimensions'] == [width, height]
    x_step, x_shear, left, y_shear, y_step, top = found['crs_transform']
    assert [x_step, x_shear, y_shear, y_step] == [scale, 0, 0, -scale]
    assert left % scale == top % scale == 0
    x, y = pyproj.Transformer.from_crs(4326, found['crs'], always_xy=True).transform(*place)
    assert abs(left + width * scale / 2 - x) <= scale / 2
    assert abs(top - height * scale / 2 - y) <= scale / 2


def test_an_own_product_shares_its_pixels_with_the_chips(folder):
    """By grid(), as getDownloadURL() takes it: a layer of twice the width and half the height."""
    write_points(folder, MIDDLE).edit('chips.py', FORMAT='tif', SIZE=16, SCALE=2)
    folder.run('chips.py')
    add_code(folder, '''
        @retry(**PATIENCE)
        def getResult(index, point):
            place = ee.Geometry.Point(point['longitude'], point['latitude'])
            images = ee.ImageCollection(COLLECTION).filterBounds(place).filterDate(START, END)
            image = images.sort('system:time_start').mosaic().select(BANDS)
            options = grid(point['longitude'], point['latitude'], 2 * SIZE, SIZE // 2, SCALE)
            url = image.getDownloadURL({**options, 'format': 'GEO_TIFF'})
            save(point, lambda: download(url, 'tif'))
        ''').edit('chips.py', OUTPUT='own').run('chips.py')
    with (rasterio.open(folder.path / 'chips' / '0.tif') as chip,
          rasterio.open(folder.path / 'own' / '0.tif') as own):
        assert own.shape == (8, 32) and own.crs == chip.crs and own.res == chip.res
        assert (own.read()[:, :, 8:24] == chip.read()[:, 4:12]).all()


def test_images_that_lack_a_band_are_left_out(folder):
    """Of 2008 and before NAIP has no near infrared; some newer ones have no red, others none either."""
    folder.edit('chips.py', BANDS=['N'], SIZE=32, **{**FEW, 'POINTS_PER_ECOREGION': 6}).run('chips.py')
    files = folder.files('chips')
    for row in folder.table('chips/chips.csv'):
        found = np.array(Image.open(io.BytesIO(files[row['file']])))
        years = [year for year in range(2023, 2014, -2)
                 if (found == expected(row, 32, 1, year)[..., 3]).mean() > 0.98]
        assert years  # N is the same formula in each year: what counts is that it is there


def test_second_run_asks_for_what_is_missing_and_nothing_else(folder, standin):
    folder.edit('chips.py', **FEW).run('chips.py')
    before = folder.files('chips')
    standin.reset()
    assert '12 of 12 were already in chips' in folder.run('chips.py')
    assert not standin.counts()['requests']
    (folder.path / 'chips' / 'chip_00007.png').unlink()
    (folder.path / 'chips' / 'chip_00002.png').unlink()
    folder.run('chips.py')
    counts = standin.counts()
    assert counts['results'] == 2 and sum(counts['requests']['create'].values()) == 2
    assert 'compute' not in counts['requests']
    assert folder.files('chips') == before


def bar(printed):
    """The last state of the bar that a run printed: how many there are, and of how many."""
    return re.findall(r'\| (\d+)/(\d+) \[', printed)[-1]


def test_the_status_of_runs_that_found_nothing(folder):
    """1 while no item has a file, also with --first; 0 as soon as one has."""
    write_points(folder, (10, 45), (11, 46)).edit('chips.py', SIZE=8)
    for command in ['--first', '1'], [], ['--first', '2']:
        assert '0 of 2' in folder.run('chips.py', *command, status=1)
    write_points(folder, (10, 45), (11, 46), MIDDLE)
    folder.run('chips.py')
    assert '1 of 3 were already' in folder.run('chips.py')


def test_constants_that_stand_further_down_count(folder):
    """A recipe may have been pasted above the machinery as it is."""
    write_points(folder, MIDDLE)
    add_code(folder, "SIZE = 24\nSCALE = 2\nFORMAT = 'tif'").run('chips.py')
    with rasterio.open(folder.path / 'chips' / '0.tif') as image:
        assert image.shape == (24, 24) and image.res == (2, 2)


def test_first_takes_so_many_at_random_and_the_next_run_the_others(folder, standin):
    """The bar counts just these; the last --first is above what is missing."""
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8)
    printed = folder.run('chips.py', '--first', '3')
    assert '3 of 40 are in chips' in printed and standin.counts()['results'] == 3
    assert bar(printed) == ('3', '3')
    first = set(folder.files('chips'))
    assert len(first) == 4
    assert bar(folder.run('chips.py', '--first', '5')) == ('5', '5')
    second = set(folder.files('chips')) - first
    assert len(second) == 5 and first | second != {'chips.csv', *(f'chip_{n:05}.png' for n in range(8))}
    printed = folder.run('chips.py', '--first', '99')
    assert bar(printed) == ('32', '32') and '40 of 40 are in chips' in printed
    assert not re.search(r'minutes|MB', printed)  # all is there
    assert standin.counts()['results'] == 40 and len(folder.files('chips')) == 41
    standin.reset()
    assert '40 of 40 were already' in folder.run('chips.py', '--first', '2')
    assert not standin.counts()['requests']


def test_a_whole_run_counts_what_is_there_already(folder):
    folder.edit('chips.py', **FEW, SIZE=8).run('chips.py', '--first', '3')
    assert bar(folder.run('chips.py')) == ('12', '12')


def test_first_says_what_all_would_take(folder, standin):
    """4,000 chips of 197 kB, 30 at a time, of which each takes as long as the three that are fetched."""
    standin.set(latency='pixels=2')
    folder.edit('chips.py', FORMAT='npy', PROCESSES=30, SPACING=100)
    begun = time.monotonic()
    printed = folder.run('chips.py', '--first', '3')
    seconds = time.monotonic() - begun
    minutes, megabytes = map(int, re.search(
        r'all 4000 .*?(\d+) minutes.*?(\d+) MB', printed).groups())
    sizes = {len(body) for name, body in folder.files('chips').items() if name != 'chips.csv'}
    assert 256 * 256 * 3 < min(sizes) and megabytes == round(4000 * min(sizes) / 1e6)
    # three are fetched at the same time, in less than the whole run took
    assert 4000 / 30 * 0.5 / 60 < minutes <= 4000 / 30 * seconds / 60 + 1


def test_numbers_in_words():
    assert [chips.rounded(number) for number in (0, 0.3, 1.4, 1.6, 3.4, 1234.5)] == [
        'less than 2', 'less than 2', 'less than 2', 'some 2', 'some 3', 'some 1,234']


@pytest.mark.parametrize('number', ['0', '-1', '1.5', 'ten', ''])
def test_first_takes_whole_numbers_above_zero(folder, number):
    folder.edit('chips.py', **FEW, SIZE=8)
    told = folder.run('chips.py', '--first', number, status=2).splitlines()[-1]
    assert '--first' in told and 'whole number above 0' in told and repr(number) in told
    assert not (folder.path / 'chips').exists()
