"""What chips.py leaves in its folder, compared with the closed formulas of the stand-in's datasets."""
import io

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from PIL import Image

import datasets

GEOD = pyproj.Geod(ellps='WGS84')
FEW = dict(POINTS_PER_ECOREGION=3, PROCESSES=5)

# replaces getRequests() and the image: chips of longitude and latitude anywhere on Earth
ANYWHERE = '''
def getRequests():
    places = [(7.2, -60), (5.9999, 69.9), (6.0001, 69.9), (-179.99999, 12), (179.99999, -33.3),
              (180, 0.0), (-75.0, -0.00001), (-75, 0.00001), (0, 51.5), (-102.0, 40.9), (149.1, -35.3)]
    return [{'file': f'{i}.{FORMAT}', 'longitude': x, 'latitude': y, 'crs': utm(x, y)[0]}
            for i, (x, y) in enumerate(places)]
'''


def utm_grid(longitude, latitude, size, scale):
    """Longitudes and latitudes of the pixel centres of a chip in the UTM zone of a place, by PROJ."""
    zone = int((longitude + 180) // 6) % 60 + 1
    crs = f'EPSG:{(32600 if latitude >= 0 else 32700) + zone}'
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, latitude)
    steps = (np.arange(size) + 0.5 - size / 2) * scale
    columns, rows = np.meshgrid(x + steps, y - steps)
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


def test_chips_show_the_place_they_are_named_for(folder):
    folder.edit('chips.py', **FEW)
    printed = folder.run('chips.py')
    assert '12 of 12' in printed and 'Warning' not in printed
    rows = folder.table('chips/chips.csv')
    files = folder.files('chips')
    assert sorted(files) == sorted([row['file'] for row in rows] + ['chips.csv'])
    assert list(rows[0]) == ['file', 'longitude', 'latitude', 'ECO_ID', 'ECO_NAME', 'crs']
    for row in rows:
        picture = np.array(Image.open(io.BytesIO(files[row['file']])))
        assert alike(picture, expected(row, 256, 1)[..., :3]) > 0.99
        # one pixel aside is another picture: the comparison is not blind
        assert alike(picture[:, 1:], expected(row, 256, 1)[:, :-1, :3]) < 0.5
        assert alike(picture[1:], expected(row, 256, 1)[:-1, :, :3]) < 0.5


def test_points_are_random_in_each_ecoregion_and_the_same_for_the_same_seed(folder, new_folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=25, FORMAT='npy', SIZE=2)
    folder.run('chips.py')
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
    same.edit('chips.py', POINTS_PER_ECOREGION=25, FORMAT='npy', SIZE=2).run('chips.py')
    other.edit('chips.py', POINTS_PER_ECOREGION=25, FORMAT='npy', SIZE=2, SEED=1).run('chips.py')
    assert same.files('chips') == folder.files('chips')
    assert other.table('chips/chips.csv') != rows


def test_points_do_not_depend_on_the_order_in_which_they_come(folder, new_folder, standin):
    few = dict(POINTS_PER_ECOREGION=5, FORMAT='npy', SIZE=2)
    folder.edit('chips.py', **few).run('chips.py')
    standin.set(behaviour='sample_order=shuffled')
    other = new_folder()
    other.edit('chips.py', **few).run('chips.py')
    assert other.files('chips') == folder.files('chips')


def test_an_ecoregion_that_is_too_small_gives_what_it_has_and_says_so(folder):
    folder.edit('chips.py', POINTS_PER_ECOREGION=3, SPACING=25000)
    printed = folder.run('chips.py')
    count = len(folder.table('chips/chips.csv'))
    assert 'Warning: Wyoming Basin shrub steppe has ' in printed or count < 12
    assert len(folder.files('chips')) == count + 1


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
                x, y = pyproj.Transformer.from_crs(4326, row['crs'], always_xy=True).transform(
                    float(row['longitude']), float(row['latitude']))
                assert np.hypot(*(np.array(image.xy(31.5, 31.5)) - (x, y))) < 0.1
                assert alike(np.moveaxis(image.read(), 0, 2), truth[..., [3, 1]]) > 0.99
        elif form == 'npy':
            array = np.load(body)
            assert array.dtype.names == ('N', 'G')
            assert alike(np.dstack([array['N'], array['G']]), truth[..., [3, 1]]) > 0.99
        else:
            picture = Image.open(body)
            assert picture.format == 'JPEG' and picture.size == (64, 64)


def test_stretch(folder):
    folder.edit('chips.py', MIN=100, MAX=[200, 200, 150], **FEW)
    folder.run('chips.py')
    for row in folder.table('chips/chips.csv'):
        picture = np.array(Image.open(folder.path / 'chips' / row['file'])).astype(int)
        truth = expected(row, 256, 1)[..., :3].astype(int)
        low, high = truth <= 100, truth >= [200, 200, 150]
        inside = np.broadcast_to(True, low.shape) & ~low & ~high
        assert (picture[low] == 0).mean() > 0.99 and (picture[high] == 255).mean() > 0.99
        stretched = (truth - 100) * 255 / [100, 100, 50]
        assert (abs(picture - stretched)[inside] <= 1).mean() > 0.99


def test_grid_anywhere_on_earth(folder):
    """Pixels of SCALE metres within 1 %, north up, the point within half a pixel of the centre."""
    text = (folder.path / 'chips.py').read_text()
    begin, end = text.index('\ndef getRequests'), text.index('\n@retry')
    image = "    mosaic = images.sort('system:time_start').mosaic().select(BANDS)\n"
    assert image in text
    text = (text[:begin] + ANYWHERE + text[end:]).replace(image, '    mosaic = ee.Image.pixelLonLat()\n')
    (folder.path / 'chips.py').write_text(text)
    folder.edit('chips.py', FORMAT='npy', SIZE=32, SCALE=10)
    folder.run('chips.py')
    for row in folder.table('chips/chips.csv'):
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
        assert GEOD.inv(*middle, float(row['longitude']), float(row['latitude']))[2] < 5


def test_second_run_asks_for_what_is_missing_and_nothing_else(folder, standin):
    folder.edit('chips.py', **FEW).run('chips.py')
    before = folder.files('chips')
    standin.reset()
    folder.run('chips.py')
    assert sum(map(sum, (kind.values() for kind in standin.counts()['requests'].values()))) == 0
    (folder.path / 'chips' / 'chip_00007.png').unlink()
    (folder.path / 'chips' / 'chip_00002.png').unlink()
    folder.run('chips.py')
    counts = standin.counts()
    assert counts['results'] == 2 and sum(counts['requests']['create'].values()) == 2
    assert 'compute' not in counts['requests'] or not sum(counts['requests']['compute'].values())
    assert folder.files('chips') == before
