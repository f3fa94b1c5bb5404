"""Synthetic datasets under the real ids, with the real bands, types, properties and quirks.

Every pixel is a closed formula of place and time, in plain numpy functions that a test can call to
know what a picture or a table has to say. Places are longitude and latitude in degrees, or the
column and row of a cell of the dataset's own grid; a day is a number of days since 1970-01-01.
"""
import dataclasses
import datetime
import functools
import math
from typing import Any, Callable, NamedTuple

import numpy as np
import pyproj
import shapely

from behaviour import BEHAVIOUR

DAY = 86400000  # milliseconds
CRS = {'SR-ORG:6974': '+proj=sinu +R=6371007.181 +units=m +no_defs'}  # what PROJ doesn't know


class TooMany(Exception):
    """Raised by a search that would have to list most of a dataset."""


class Grid(NamedTuple):
    """The cells of a band: crs, affine transform (a, b, c, d, e, f), columns and rows."""
    crs: str
    transform: tuple
    width: int
    height: int


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """One image: times in ms, footprint in degrees, {band: (type, Grid)}.

    value(band, place) returns the array of a band and where it is valid, where place has the
    integers col and row, cells of the band's grid, and the floats lon and lat.
    """
    index: str
    start: int
    end: int
    properties: dict
    footprint: Any
    bands: dict
    value: Callable


class Dataset(NamedTuple):
    """find(box, start, end) lists Scenes in time order; any argument may be None for no limit."""
    find: Callable
    single: bool = False  # an Image, no ImageCollection


def day_of(year, month=1, day=1):
    """Days from 1970-01-01 to a date."""
    return datetime.date(year, month, day).toordinal() - 719163


def date_of(day):
    """The datetime.date that is so many days after 1970-01-01."""
    return datetime.date.fromordinal(day + 719163)


def scatter(*keys):
    """Mixes integers into one of 31 bits that looks random."""
    mixed = 0
    for key, prime in zip(keys, (73856093, 19349663, 83492791, 49979687)):
        mixed = mixed ^ (key * prime)
    mixed = mixed & 0x7fffffff
    return (((mixed ^ (mixed >> 13)) * 1274126177) & 0x7fffffff) >> 3


def calendar(first, last, step):
    """Days from first to last every so many days, beginning anew on each January 1."""
    return [day for day in range(first, last + 1)
            if date_of(day).timetuple().tm_yday % step == 1]


@functools.cache
def projector(source, target):
    """The pyproj.Transformer between two coordinate systems, x (or longitude) first."""
    return pyproj.Transformer.from_crs(CRS.get(source, source), CRS.get(target, target),
                                       always_xy=True)


# NAIP: quarter quads of 3.75 minutes and 300 m more on each side, in NAD83 UTM

QUARTER = 0.0625  # degrees
CONUS = -124.84, 24.42, -66.9, 49.4  # west, south, east, north
NAIP_BANDS = {'m': 'RGBN', 'n': 'RGB', 'c': 'NRG'}


def naip_band(name, lon, lat, year):
    """The bytes of R, G, B or N at a place, given in degrees, in a year.

    With u and v the longitude and latitude in 0.00001 degrees rounded down, R is u and G is v
    modulo 256; B holds the year modulo 8, three more bits of u and two of v.
    """
    u = np.floor(np.asarray(lon) * 1e5).astype(np.int64)
    v = np.floor(np.asarray(lat) * 1e5).astype(np.int64)
    if name == 'R':
        return (u & 255).astype(np.uint8) | np.zeros_like(v, np.uint8)
    if name == 'G':
        return (v & 255).astype(np.uint8) | np.zeros_like(u, np.uint8)
    if name == 'B':
        return (32 * (year % 8) + 4 * (u >> 8 & 7) + (v >> 8 & 3)).astype(np.uint8)
    return ((u + 3 * v) & 255).astype(np.uint8)


def naip_years(lon, lat):
    """The years in which NAIP flew a place: odd ones in Colorado, even ones next to it."""
    cell = math.floor((lon + 109.05) / 7) + math.floor((lat - 37) / 4)
    return range(2003 + cell % 2, 2024, 2)


@functools.cache
def naip_tile(i, j):
    """(crs, left, top, right, bottom, footprint) of the quarter quad at (i, j) * QUARTER."""
    west, south = i * QUARTER, j * QUARTER
    crs = f'EPSG:{26900 + math.floor((west + QUARTER / 2 + 180) / 6) + 1}'
    x, y = projector('EPSG:4326', crs).transform(
        [west, west, west + QUARTER, west + QUARTER], [south, south + QUARTER] * 2)
    left, right = math.floor(min(x) - 300), math.ceil(max(x) + 300)
    bottom, top = math.floor(min(y) - 300), math.ceil(max(y) + 300)
    corners = projector(crs, 'EPSG:4326').transform(
        [left, left, right, right], [top, bottom, bottom, top])
    return crs, left, top, right, bottom, shapely.Polygon(zip(*corners))


def naip_name(i, j):
    """The middle of a name, such as 3712213_sw_10 for quad 13 of 37 N 122 W."""
    quad = (7 - j // 2 % 8) * 8 + i // 2 % 8 + 1
    zone = math.floor((i * QUARTER + QUARTER / 2 + 180) / 6) + 1
    return f'{j // 16}{-(i // 16) - 1:03}{quad:02}_{"sn"[j % 2]}{"we"[i % 2]}_{zone}'


@functools.cache
def naip_scenes(i, j, year):
    """The images of a quarter quad in a year: one of m_ or n_, and on some tiles a c_ as well."""
    crs, left, top, right, bottom, footprint = naip_tile(i, j)
    dice = scatter(i, j, year)
    day = day_of(year, 6) + dice % 120
    metres = 1 if year < 2017 else 0.6
    columns, rows = math.ceil((right - left) / metres), math.ceil((top - bottom) / metres)
    grid = Grid(crs, (metres, 0, left, 0, -metres, top), columns, rows)
    kind = 'n' if year < 2009 or dice % 7 == 0 else 'm'
    return [Scene(f'{kind}_{naip_name(i, j)}_{"1" if metres == 1 else "060"}_{date_of(day):%Y%m%d}',
                  day * DAY, day * DAY, {}, footprint,
                  {band: ('uint8', grid) for band in NAIP_BANDS[kind]},
                  lambda band, place: (naip_band(band, place.lon, place.lat, year), np.True_))
            for kind in (kind, *'c' * (dice // 7 % 4 == 0))]


def find_naip(box, start, end):
    """The tiles that may touch a box (degrees) between two times, oldest first."""
    west, south, east, north = np.clip(box, CONUS[:2] * 2, CONUS[2:] * 2) if box else CONUS
    first, last = (datetime.datetime.fromtimestamp(time / 1000, datetime.UTC).year if time else None
                   for time in (start, end))
    margin = 0.006  # degrees, a little more than 300 m
    columns, rows = (
        range(math.floor((low - margin) / QUARTER), math.floor((high + margin) / QUARTER) + 1)
        for low, high in ((west, east), (south, north)))
    if len(columns) * len(rows) > 3000:
        raise TooMany
    return sorted((scene for i in columns for j in rows
                   for year in naip_years((i + .5) * QUARTER, (j + .5) * QUARTER)
                   if (first or 0) <= year <= (last or 9999)
                   for scene in naip_scenes(i, j, year)), key=lambda scene: scene.start)


# MODIS: global images on the sinusoidal grid

MODIS_CELL = 926.625433055833  # metres
FEW_HOT = 53  # one cell in so many is absurdly hot, and of doubtful quality


def modis_grid(divide):
    """The sinusoidal grid with cells of 926 m divided by a number."""
    cell = MODIS_CELL / divide
    return Grid('SR-ORG:6974', (cell, 0, -20015109.354, 0, -cell, 10007554.677003),
                43200 * divide, 21600 * divide)


def modis_cell(lon, lat):
    """Column and row of the 926 m cell that holds a place."""
    x, y = projector('EPSG:4326', 'SR-ORG:6974').transform(lon, lat)
    return int((x + 20015109.354) // MODIS_CELL), int((10007554.677003 - y) // MODIS_CELL)


CLOUDY_BLOCK = 483, 508  # no MODIS image ever shows these 32 x 32 cells


def modis_corner(col, row):
    """Longitude and latitude of the upper left corner of a cell."""
    return projector('SR-ORG:6974', 'EPSG:4326').transform(
        col * MODIS_CELL - 20015109.354, 10007554.677003 - row * MODIS_CELL)


def lst_hot(col, row, day):
    """Where LST_Day_1km has one of its absurd values."""
    return (5 * col + 3 * row + day) % FEW_HOT == 0


def lst_masked(col, row, day):
    """Where clouds hide LST_Day_1km: 1 in 5 blocks of 4 x 4 cells, and at times all around."""
    passing = (31 * (col >> 2) + 17 * (row >> 2) + 7 * day) % 5 == 0
    overcast = (5 * (col >> 7) + 3 * (row >> 7) + day // 8) % 23 == 0
    forever = ((col >> 5) == CLOUDY_BLOCK[0]) & ((row >> 5) == CLOUDY_BLOCK[1])
    return passing | overcast | forever


def lst_raw(col, row, day):
    """LST_Day_1km as stored, in 0.02 K: 13800..15299, or 16500 and more in the hot cells."""
    return 13800 + (7 * col + 13 * row + 11 * day) % 1500 + lst_hot(col, row, day) * 2700


def lst_qc(col, row, day):
    """QC_Day; bits 0-1: 0 good, 1 doubtful (all hot cells are), 2 cloud, 3 nothing for long."""
    masked = lst_masked(col, row, day)
    doubtful = lst_hot(col, row, day) | ((col + row + day) % 7 == 0)
    bits = np.where(masked, 2 + (col & row & 1), doubtful)
    return bits + 64 * ((col + 2 * row) % 4) * (bits == 1)


def texture(low, high, col, row, day):
    """An integer from low to high (not included), for bands that only have to be there."""
    return low + (7 * col + 13 * row + 11 * day) % (high - low)


MOD11A2 = {  # band: type, lowest and highest value
    'LST_Day_1km': ('uint16', 7500, 65535), 'QC_Day': ('uint8', 0, 255),
    'Day_view_time': ('uint8', 0, 240), 'Day_view_angl': ('uint8', 0, 130),
    'LST_Night_1km': ('uint16', 7500, 65535), 'QC_Night': ('uint8', 0, 255),
    'Night_view_time': ('uint8', 0, 240), 'Night_view_angl': ('uint8', 0, 130),
    'Emis_31': ('uint8', 200, 255), 'Emis_32': ('uint8', 200, 255),
    'Clear_sky_days': ('uint8', 1, 255), 'Clear_sky_nights': ('uint8', 1, 255)}
MOD13Q1 = {
    'NDVI': ('int16', -2000, 10000), 'EVI': ('int16', -2000, 10000),
    'DetailedQA': ('uint16', 0, 65534), 'sur_refl_b01': ('int16', 0, 10000),
    'sur_refl_b02': ('int16', 0, 10000), 'sur_refl_b03': ('int16', 0, 10000),
    'sur_refl_b07': ('int16', 0, 10000), 'ViewZenith': ('int16', 0, 18000),
    'SolarZenith': ('int16', 0, 18000), 'RelativeAzimuth': ('int16', -18000, 18000),
    'DayOfYear': ('int16', 1, 366), 'SummaryQA': ('int8', 0, 3)}


def mod11a2_value(band, place, day):
    """Night bands repeat the formulas of the day, 12 hours and 15 K (750) off."""
    col, row, night = place.col, place.row, 'Night' in band
    if band.startswith('LST'):
        values, masked = lst_raw(col, row, day + night), lst_masked(col, row, day + night)
        if BEHAVIOUR['lst_fill'] == 'shown':
            return np.where(masked, 0, values - 750 * night), np.True_
        return values - 750 * night, ~masked
    if band.startswith('QC'):
        return lst_qc(col, row, day + night), np.True_
    return texture(*MOD11A2[band][1:], col, row, day), ~lst_masked(col, row, day)


def modis_series(bands, grid, days, value):
    """The Dataset of global images, one a given day, each for the time until the next."""
    bands = {name: (kind, grid) for name, (kind, *_) in bands.items()}
    step, earth = days[1] - days[0], shapely.box(-180, -90, 180, 90)
    scenes = [Scene(f'{date_of(day):%Y_%m_%d}', day * DAY,
                    min(day + step, day_of(date_of(day).year + 1)) * DAY, {}, earth, bands,
                    lambda band, place, day=day: value(band, place, day)) for day in days]
    return Dataset(lambda box, start, end: scenes)


MISSING_DAY = day_of(2001, 6, 18)  # MODIS/061/MOD11A2 has no image of it
LST_DAYS = [day for day in calendar(day_of(2000, 2, 18), day_of(2026, 11, 9), 8)
            if day != MISSING_DAY]
NDVI_DAYS = calendar(day_of(2000, 2, 18), day_of(2026, 10, 16), 16)


# Sentinel-2: squares of 100 km and 9.8 km more to the east and north, in UTM

SQUARE, OVERLAP = 100000, 9800
S2_DAYS = range(day_of(2017, 3, 28), day_of(2026, 11, 9), 5)
SENTINEL = {  # band: type, cell in metres, lowest and highest value
    **{band: ('uint16', cell, 200 + 100 * n, 2000 + 400 * n) for n, (band, cell) in enumerate({
        'B1': 60, 'B2': 10, 'B3': 10, 'B4': 10, 'B5': 20, 'B6': 20, 'B7': 20, 'B8': 10, 'B8A': 20,
        'B9': 60, 'B11': 20, 'B12': 20}.items())},
    'AOT': ('uint16', 10, 50, 300), 'WVP': ('uint16', 10, 500, 3000), 'SCL': ('uint8', 20, 4, 8),
    'MSK_CLDPRB': ('uint8', 20, 0, 20), 'QA60': ('uint16', 60, 0, 1)}
CLOUD = {'SCL': 9, 'MSK_CLDPRB': 95, 'QA60': 1024}  # where a cloud is


def sentinel_clouds(lon, lat, day):
    """Where Sentinel-2 shows clouds: 3 of 10 cells of 0.02 degrees."""
    i, j = (np.floor(np.asarray(angle) * 50).astype(np.int64) for angle in (lon, lat))
    return scatter(i, j, day) % 10 < 3


def sentinel_band(band, place, day):
    """texture(), with clouds in the quality bands and bright in all others."""
    *_, low, high = SENTINEL[band]
    values = texture(low, high, place.col, place.row, day)
    return np.where(sentinel_clouds(place.lon, place.lat, day), CLOUD.get(band, high),
                    values), np.True_


def sentinel_scene(zone, south, left, bottom, day):
    """The image of a square on a day."""
    crs, side = f'EPSG:{(32700 if south else 32600) + zone}', SQUARE + OVERLAP
    lon, lat = projector(crs, 'EPSG:4326').transform(
        left + np.array([0, 0, side, side]), bottom + np.array([side, 0, 0, side]))
    tile = f'{zone:02}{"S" if south else "N"}{left // SQUARE:02}{bottom // SQUARE % 100:02}'
    date, time = f'{date_of(day):%Y%m%d}', day * DAY + 63600000 + left // 100
    bands = {band: (kind, Grid(crs, (cell, 0, left, 0, -cell, bottom + side),
                               side // cell, side // cell))
             for band, (kind, cell, *_) in SENTINEL.items()}
    cloudy = scatter(left // 1000, bottom // 1000, day) % 10000 / 100
    return Scene(f'{date}T174911_{date}T175905_T{tile}', time, time,
                 {'MGRS_TILE': tile, 'CLOUDY_PIXEL_PERCENTAGE': cloudy},
                 shapely.Polygon(zip(lon, lat)), bands,
                 lambda band, place: sentinel_band(band, place, day))


def find_sentinel(box, start, end):
    """The images of the squares that may touch a box (degrees) between two times."""
    if not box or (box[2] - box[0]) * (box[3] - box[1]) > 100:
        raise TooMany
    west, south, east, north = box
    squares = []
    for zone in range(math.floor((west + 180) / 6) + 1, math.floor((east + 180) / 6) + 2):
        middle, below = 6 * zone - 183, south + north < 0
        left, bottom, right, top = projector(
            'EPSG:4326', f'EPSG:{(32700 if below else 32600) + zone}').transform_bounds(
                max(west, middle - 3), south, min(east, middle + 3), north)
        squares += [(zone, below, i * SQUARE, j * SQUARE)
                    for i in range(int((left - OVERLAP) // SQUARE), int(right // SQUARE) + 1)
                    for j in range(int((bottom - OVERLAP) // SQUARE), int(top // SQUARE) + 1)]
    days = [day for day in S2_DAYS if (start is None or start <= day * DAY + DAY)
            and (end is None or day * DAY < end)]
    if len(squares) * len(days) > 5000:
        raise TooMany
    return [sentinel_scene(*square, day) for day in days for square in squares]


# single images on grids in degrees

def elevation(lon, lat):
    """Metres above the sea: hills of 0.5 degrees on a base that rises to the north."""
    return np.floor(1500 + 20 * lat + 600 * np.sin(12.6 * lon) * np.sin(12.6 * lat))


def land_cover(lon, lat):
    """ESA WorldCover classes, in cells of 0.01 degrees."""
    classes = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100], np.uint8)
    i, j = (np.floor(np.asarray(angle) * 100).astype(np.int64) for angle in (lon, lat))
    return classes[scatter(i, j, 1) % 11]


def bioclim(number, lon, lat):
    """WORLDCLIM bio01 to bio19: smooth, different for each number."""
    return np.floor(300 - 5 * np.abs(lat) + 10 * number + 20 * np.sin(lon / 3))


def globe(name, cell, north, bands, value, day=day_of(2000, 2, 11), single=True):
    """The Dataset of one image between 180 W and 180 E and north degrees N and S."""
    grid = Grid('EPSG:4326', (cell, 0, -180, 0, -cell, north), round(360 / cell),
                round(2 * north / cell))
    scene = Scene(name, day * DAY, (day + 1) * DAY, {}, shapely.box(-180, -north, 180, north),
                  {band: (kind, grid) for band, kind in bands.items()},
                  lambda band, place: (value(band, place.lon, place.lat), np.True_))
    return Dataset(lambda box, start, end: [scene], single)


IMAGES = {
    'USDA/NAIP/DOQQ': Dataset(find_naip),
    'MODIS/061/MOD11A2': modis_series(MOD11A2, modis_grid(1), LST_DAYS, mod11a2_value),
    'MODIS/006/MOD11A2': modis_series(
        MOD11A2, modis_grid(1), [day for day in LST_DAYS if day <= day_of(2022, 11, 9)],
        mod11a2_value),
    'MODIS/061/MOD13Q1': modis_series(
        MOD13Q1, modis_grid(4), NDVI_DAYS, lambda band, place, day: (
            texture(*MOD13Q1[band][1:], place.col, place.row, day), np.True_)),
    'COPERNICUS/S2_SR_HARMONIZED': Dataset(find_sentinel),
    'USGS/SRTMGL1_003': globe('SRTMGL1_003', 1 / 3600, 60, {'elevation': 'int16'},
                              lambda band, lon, lat: elevation(lon, lat)),
    'WORLDCLIM/V1/BIO': globe(
        'BIO', 1 / 120, 90, {f'bio{n:02}': 'int16' for n in range(1, 20)},
        lambda band, lon, lat: bioclim(int(band[3:]), lon, lat)),
    'ESA/WorldCover/v200': globe(
        '2021', 1 / 12000, 83, {'Map': 'uint8'}, lambda band, lon, lat: land_cover(lon, lat),
        day_of(2021), single=False),
}


# tables: {id: function that returns [(system:index, properties, shapely geometry in degrees)]}

COLORADO = -109.05, 37, -102.05, 41
PRAIRIE = 'Western shortgrass prairie', 8, 'Temperate Grasslands, Savannas & Shrublands', 'Nearctic'
PLATEAU = 'Colorado Plateau shrublands', 13, 'Deserts & Xeric Shrublands', 'Nearctic'
ECOREGIONS = [  # ECO_ID, (ECO_NAME, BIOME_NUM, BIOME_NAME, REALM), geometry
    (335, ('Colorado Rockies forests', 5, 'Temperate Conifer Forests', 'Nearctic'),
     shapely.Polygon([(-107.6, 37), (-105.2, 37), (-105.0, 38.4), (-105.3, 39.6), (-105.1, 40.98),
                      (-105.1, 42.5), (-108, 42.5), (-108, 40.98), (-107.7, 39.2)])
     - shapely.box(-107.5, 40.98, -107.18, 43)),
    (402, PRAIRIE, shapely.Polygon([(-105.2, 37), (-105.0, 38.4), (-101, 38.4), (-101, 37)])),
    (402, PRAIRIE, shapely.Polygon([(-105.0, 38.4), (-105.3, 39.6), (-105.1, 40.98), (-105.1, 43),
                                    (-101, 43), (-101, 38.4)])),
    (402, PRAIRIE, shapely.Polygon([(-105.2, 37), (-101, 37), (-101, 33), (-104.5, 33)])),
    (430, PLATEAU, shapely.Polygon([(-107.6, 37), (-107.7, 39.2), (-108, 40.98), (-108, 42),
                                    (-112, 42), (-112, 35), (-107.6, 35)])),
    (438, ('Wyoming Basin shrub steppe', 13, 'Deserts & Xeric Shrublands', 'Nearctic'),
     shapely.box(-107.5, 40.98, -107.18, 43)),  # of which some 60 km2 are in Colorado
    (348, ('Arizona Mountains forests', 5, 'Temperate Conifer Forests', 'Nearctic'),
     shapely.box(-107, 34, -105.5, 37)),  # touches Colorado, from outside
    (0, ('Rock and Ice', 11, 'Tundra', 'Nearctic'), shapely.box(-45, 65, -35, 75)),
    (491, ('Serra do Mar, "São Paulo" coastal forests', 1,
           'Tropical & Subtropical Moist Broadleaf Forests', 'Neotropic'),
     shapely.box(-48, -25, -45, -23)),
]


def ecoregions():
    """RESOLVE/ECOREGIONS/2017"""
    return [(f'{scatter(n, 5) % 65536:020x}', {
        'ECO_ID': float(code), 'ECO_NAME': name, 'BIOME_NUM': float(biome),
        'BIOME_NAME': biome_name, 'REALM': realm, 'OBJECTID': float(n + 1),
        'SHAPE_AREA': shape.area, 'SHAPE_LENG': shape.length}, shape)
        for n, (code, (name, biome, biome_name, realm), shape) in enumerate(ECOREGIONS)]


STATES = [  # codes of country and state, their names, box
    (259, 3217, 'United States of America', 'Colorado', COLORADO),
    (259, 3258, 'United States of America', 'Wyoming', (-111.05, 41, -104.05, 45)),
    (259, 3256, 'United States of America', 'Utah', (-114.05, 37, -109.05, 41)),
    (259, 3229, 'United States of America', 'Kansas', (-102.05, 37, -94.6, 40)),
    (259, 3244, 'United States of America', 'New Mexico', (-109.05, 31.8, -103, 37)),
    (46, 836, 'Canada', 'Alberta', (-120, 49, -110, 60))]
# code and name; longitude, latitude of the lower left corner; columns, rows and side of the cells;
# its provinces. Cells of 0.03 degrees hold a dozen of MODIS, those of 0.17 about 400.
COUNTRIES = [
    (12, 'Argentina', -66.0, -32.0, 5, 4, .16, 'Buenos Aires|Córdoba|Mendoza|Río Negro'),
    (33, 'Bolivia', -65.0, -17.5, 4, 4, .12, 'Beni|Cochabamba|La Paz|Potosí'),
    (37, 'Brazil', -52.0, -12.0, 7, 5, .17, 'Amazonas|Bahia|Pará|São Paulo|Piauí'),
    (51, 'Chile', -72.2, -36.0, 4, 3, .08,
     'Biobío|"Libertador" O\'Higgins, General Bernardo|Región Metropolitana'),
    (57, 'Colombia', -74.0, 4.0, 5, 4, .10, 'Antioquia|Boyacá|Cauca|Nariño'),
    (73, 'Ecuador', -79.5, -2.4, 4, 3, .06, 'Azuay|Guayas|Loja'),
    (81, 'Falkland Islands (Malvinas)', -59.2, -51.8, 2, 1, .1,
     'Administrative unit not available'),
    (86, 'French Guiana', -53.0, 4.0, 3, 2, .09, 'Cayenne|Saint-Laurent-du-Maroni'),
    (107, 'Guyana', -58.8, 5.0, 4, 2, .11, 'Barima-Waini|Upper Demerara/Berbice'),
    (194, 'Paraguay', -57.5, -24.0, 4, 3, .12, 'Alto Paraná|Itapúa|Ñeembucú'),
    (195, 'Peru', -74.5, -10.5, 5, 4, .13, 'Áncash|Cusco|Junín|Loreto'),
    (233, 'Suriname', -56.0, 4.4, 3, 2, .10, 'Para|Sipaliwini'),
    (260, 'Uruguay', -56.2, -33.0, 4, 3, .09, 'Artigas|Paysandú|Río Negro'),
    (263, 'Venezuela', -66.5, 7.5, 5, 4, .14, 'Amazonas|Bolívar|Guárico|Mérida'),
    (191, 'Panama', -78.4, 8.2, 3, 2, .08, 'Darién|Emberá'),  # in South America's box only
]
SAINTS = ['San José', 'Santa Rosa', 'San Pedro', 'Santa María', 'San Juan', 'Concepción',
          'La Unión', 'El Carmen', 'Bella Vista', 'Buena Esperanza', 'Río Grande', 'Villa Nueva']
QUIRKS = {  # (country, number of the region): its name
    (51, 0): "O'Higgins, \"Libertador\"", (51, 1): 'Ñuñoa', (51, 2): 'A/B', (51, 3): '../../etc',
    (37, 0): 'São João d\'Aliança', (12, 0): 'Administrative unit not available',
    (12, 7): 'Administrative unit not available', (57, 3): '..', (195, 4): None,
    (81, 0): 'Administrative unit not available', (81, 1): 'Administrative unit not available',
    (73, 4): 'Gnral. Antonio Elizalde', (73, 7): 'Milagro', (51, 11): 'Aysén',
    (263, 3): 'Isla de Margarita', (73, 11): 'Isla Puná', (260, 11): 'Islote',
    (107, 0): 'a=b&c;d%20e #1?', (233, 0): 'CON'}


def corner(code, column, row, lon, lat, side):
    """Where four cells of a country meet, shaken a little."""
    dice = scatter(code, column, row)
    return (lon + side * (column + (dice % 31 - 15) / 100),
            lat + side * (row + (dice // 31 % 31 - 15) / 100))


def region_shape(code, number, cell, x, y):
    """The geometry of a level 2 unit: a cell, or what one of the quirks needs."""
    if (code, number) == (51, 11):
        middle = modis_corner(*(32 * index + 16 for index in CLOUDY_BLOCK))
        return shapely.Point(middle).buffer(0.04, quad_segs=3)
    if (code, number) == (260, 11):  # too small to hold the centre of a MODIS cell
        lon, lat = modis_corner(*modis_cell(x, y))
        return shapely.box(lon, lat - 0.001, lon + 0.001, lat)
    if (code, number) in ((263, 3), (73, 11)):  # an island, far from the rest
        return shapely.Point(x + 2, y + 3.6).buffer(0.07, quad_segs=4)
    if (code, number) in ((51, 5), (81, 0)):
        return shapely.MultiPolygon([cell, shapely.affinity.translate(cell, -0.6, 0.1)])
    return cell


def units(simplified):
    """[(codes, names, shape)] of all level 2 units; codes and names are of levels 0, 1 and 2."""
    found = []
    for code, country, lon, lat, columns, rows, side, provinces in COUNTRIES:
        provinces = provinces.split('|')
        for number in range(columns * rows):
            column, row = number // rows, number % rows
            points = [corner(code, column + i, row + j, lon, lat, side)
                      for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
            cell = shapely.Polygon(points).buffer(0 if simplified else 0.003)
            name, province = QUIRKS.get((code, number), SAINTS[(number * 5 + code) % 12]), (
                number % len(provinces))
            unit = 15426 if code == 73 and number in (4, 7) else code * 100 + number
            found.append(((code, code * 10 + province, unit), (country, provinces[province], name),
                          region_shape(code, number, cell, *points[0])))
    return found + [((country, code, code * 10), (country_name, name, f'{name} County'),
                     shapely.box(*box)) for country, code, country_name, name, box in STATES]


def gaul(level, simplified):
    """FAO/GAUL/2015, or the one with 500 m less detail, at level 0, 1 or 2; an index has 20 digits,
    and a name that is None isn't there."""
    groups, rows = {}, []
    for codes, names, shape in units(simplified):
        groups.setdefault((codes[:level + 1], names[:level + 1]), []).append(shape)
    for (codes, names), shapes in groups.items():
        shape = shapely.union_all(shapes)
        properties = {'DISP_AREA': 'NO', 'STATUS': 'Member State', f'STR{level}_YEAR': 1000,
                      f'EXP{level}_YEAR': 3000, 'Shape_Area': shape.area,
                      'Shape_Leng': shape.length}
        for n, code in enumerate(codes):
            properties |= {f'ADM{n}_CODE': code, **({f'ADM{n}_NAME': names[n]} if names[n] else {})}
        rows.append((f'{scatter(*codes, len(names[-1] or "")) % 2**20:020x}', properties, shape))
    return sorted(rows, key=lambda row: row[0])


def fields():
    """Twelve fields of about 40 ha near Greeley, Colorado."""
    return [(f'{n:020x}', {'id': n + 1, 'name': f'field {n + 1}'},
             shapely.box(*(side := (-104.7 + 0.01 * (n % 4), 40.4 + 0.008 * (n // 4))),
                         side[0] + 0.008, side[1] + 0.006)) for n in range(12)]


def plots():
    """120 points in four clusters, each of a class, with nothing in between."""
    return [(f'{n:020x}', {'id': n + 1, 'class': n % 4},
             shapely.Point(-108 + 1.5 * (n % 4) + (scatter(n, 1) % 1000) / 10000,
                           38 + 0.7 * (n % 4) + (scatter(n, 2) % 1000) / 10000))
            for n in range(120)]


TABLES = {
    'RESOLVE/ECOREGIONS/2017': functools.cache(ecoregions),
    'projects/standin/assets/fields': functools.cache(fields),
    'projects/standin/assets/plots': functools.cache(plots),
    'projects/standin/assets/none': lambda: [],
    'projects/standin/assets/sea': lambda: [
        ('0', {'name': 'sea', 'ADM1_NAME': 'Sea'}, shapely.box(-40, 30, -39.9, 30.1))],
    **{f'FAO/GAUL{extra}/2015/level{level}':
       functools.cache(functools.partial(gaul, level, bool(extra)))
       for extra in ('', '_SIMPLIFIED_500m') for level in range(3)},
}
