"""What chips.py leaves in its folder, compared with the closed formulas of the stand-in's datasets."""
import datetime
import io
import types

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from PIL import Image

import datasets
from conftest import BRIEF, said

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
    same.edit('chips.py', POINTS_PER_ECOREGION=25, FORMAT='npy', SIZE=2).run('chips.py', '--first', '1')
    other.edit('chips.py', POINTS_PER_ECOREGION=25, FORMAT='npy', SIZE=2, SEED=1).run('chips.py', '--first', '1')
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
    folder.edit('chips.py', POINTS_PER_ECOREGION=3, SPACING=25000, SIZE=8)
    for _ in range(2):
        printed = folder.run('chips.py')
        names = [row['ECO_NAME'] for row in folder.table('chips/chips.csv')]
        few = {name: names.count(name) for name in names if names.count(name) < 3}
        assert few  # or this would show nothing
        for name, count in few.items():
            assert printed.count(f'Warning: {name} has {count} points, not 3.') == 1
        assert printed.count('Warning') == len(few)


def test_places_in_no_ecoregion_are_left_out(folder):
    """The stand-in knows no ecoregion of the west of Utah."""
    folder.edit('chips.py', REGION={'ADM1_NAME': 'Utah'}, POINTS_PER_ECOREGION=5, SIZE=8).run('chips.py')
    rows = folder.table('chips/chips.csv')
    assert [row['ECO_ID'] for row in rows] == ['430'] * 5
    assert all(-112 <= float(row['longitude']) <= -109 for row in rows)


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


@pytest.mark.parametrize('constants,fine', [  # 47.8, 50.1, 47.8 and 50.3 MB with the masks
    (dict(SIZE=2890), True), (dict(SIZE=2960), False),
    (dict(SIZE=3540, BANDS=['R', 'N'], FORMAT='tif'), True),
    (dict(SIZE=3630, BANDS=['R', 'N'], FORMAT='tif'), False)])
def test_size_limit_of_48_mb(folder, constants, fine):
    """That of the service, by its documentation; the stand-in's is the 32 that some have met."""
    folder.edit('chips.py', **constants)
    printed = folder.run('-c', 'import chips; chips.check_constants()', status=not fine)
    assert ('so lower SIZE' in printed) != fine


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
    folder.replace('chips.py', ".mosaic().select(BANDS)", ".mosaic()\n    mosaic = ee.Image.pixelLonLat()")
    folder.edit('chips.py', FORMAT='npy', SIZE=32, SCALE=10)
    folder.run('chips.py')
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


@pytest.mark.parametrize('place', [(-105.25 + 0.0005, 40.0 + 0.0005), (-105.25 + 0.0075, 40.0 + 0.0058)])
def test_images_beside_the_middle_are_seen_too(folder, place):
    """A chip across the edge of a tile has the pixels of all tiles around, also 640 m from the edge,
    where SIZE metres reach none of them; each has 300 m of the next."""
    write_points(folder, place).edit('chips.py', SCALE=8).run('chips.py')
    row, = folder.table('chips/chips.csv')
    assert alike(picture(folder, row), expected(row, 256, 8)[..., :3]) > 0.99


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


def test_a_box_in_one_zone_and_chips_that_are_not_square(folder):
    """save_chip() and utm() for a user's own getResult()."""
    write_points(folder, (-102.002, 40.5)).edit('chips.py', FORMAT='tif', SIZE=8)
    folder.replace('chips.py', "save_chip(point, mosaic, point['longitude'], point['latitude'])", """
    west, east = utm(-102.002, 40.5, 13), utm(-101.998, 40.5, zone=13)
    check(west[0] == east[0] == 'EPSG:32613' != utm(-101.998, 40.5)[0], 'not in one zone')
    check(abs(east[1] - west[1] - 338.9) < 0.5, f'{east[1] - west[1]} m between them')
    save_chip(point, mosaic, point['longitude'], point['latitude'], 50, height=20, scale=3)""")
    folder.run('chips.py')
    with rasterio.open(folder.path / 'chips' / '0.tif') as image:
        assert image.shape == (20, 50) and image.res == (3, 3)
        _, lon, lat = utm_grid(-102.002, 40.5, 50, 3, 20)
        truth = np.dstack([datasets.naip_band(band, lon, lat, 2022) for band in 'RGB'])
        assert alike(np.moveaxis(image.read(), 0, 2), truth) > 0.99


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


def test_first_takes_so_many_at_random_and_the_next_run_the_others(folder, standin):
    folder.edit('chips.py', POINTS_PER_ECOREGION=10, SIZE=8)
    printed = folder.run('chips.py', '--first', '3')
    assert '3 of 40 are in chips' in printed and standin.counts()['results'] == 3
    first = set(folder.files('chips'))
    assert len(first) == 4
    folder.run('chips.py', '--first', '5')
    second = set(folder.files('chips')) - first
    assert len(second) == 5 and first | second != {'chips.csv', *(f'chip_{n:05}.png' for n in range(8))}
    folder.run('chips.py')
    assert standin.counts()['results'] == 40 and len(folder.files('chips')) == 41
