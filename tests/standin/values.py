"""What expressions work on: coordinate systems and places, images, features, dates and so on.

An image is computed on demand: a Band has a function that gives its values at any Pixels, so that
only the pixels of a picture or of a region are ever made. Edges of geometries are straight in their
own coordinate system, even where Earth Engine would take geodesics.
"""
import datetime
import functools
import math
from typing import Any, NamedTuple

import numpy as np
import pyproj
import shapely

import datasets
from behaviour import BEHAVIOUR
from sentences import say, say_of_caller

MAX_ELEMENTS = 5000


class EEError(Exception):
    """What the service answers instead of a result, and the HTTP status of the answer. A text that
    begins with a colon gets the name of the algorithm in front."""

    def __init__(self, message, status=400):
        super().__init__(message)
        self.status = status


class Algorithms(dict):
    """{name: function}, called with the arguments of the signature, in its order; a function may
    leave out those at the end that it has no use for. A second one of a name is a mistake."""

    def __setitem__(self, name, function):
        if name in self:
            raise KeyError(f'{name} is registered twice')
        super().__setitem__(name, function)

    def __ior__(self, functions):
        for name, function in functions.items():
            self[name] = function
        return self


ALGORITHMS = Algorithms()


def algorithm(name):
    """Registers a function."""
    def register(function):
        ALGORITHMS[name] = function
        return function
    return register


def refuse_long(count, limit=MAX_ELEMENTS):
    """Refuses a collection of more elements than the service puts into one answer."""
    if limit and count > limit:
        raise EEError(say('elements', limit=limit))


def refuse_work(count):
    """Refuses to work on more images than the server was told to."""
    if BEHAVIOUR['max_images'] is not None and count > BEHAVIOUR['max_images']:
        raise EEError(BEHAVIOUR['max_images_text'], BEHAVIOUR['max_images_status'])


# ---------------------------------------------------------------- coordinate systems and places

class Projection(NamedTuple):
    """A coordinate system and the affine transform (a, 0, c, 0, e, f) from pixels to its units."""
    crs: str
    transform: tuple = (1, 0, 0, 0, 1, 0)

    def scale(self):
        """The side of a pixel in metres (a degree being one of the equator)."""
        system, transform = find_crs(self.crs), self.transform
        unit = 111319.49079327357 if system.is_geographic else (
            system.axis_info[0].unit_conversion_factor)
        return unit * math.sqrt(abs(transform[0] * transform[4]))

    def with_transform(self, transform):
        """The same with another transform."""
        if transform[1] or transform[3]:
            raise EEError(say('lacks', what='transform that shears or turns'))
        return self._replace(transform=tuple(transform))

    def at_scale(self, metres):
        """The same with pixels of another size, from the same origin."""
        factor, (a, _, c, _, e, f) = metres / self.scale(), self.transform
        return self.with_transform((a * factor, 0, c, 0, e * factor, f))


WGS84 = Projection('EPSG:4326')


@functools.cache
def find_crs(name):
    """The pyproj.CRS of an EPSG code, SR-ORG:6974 or WKT text."""
    try:
        return pyproj.CRS(datasets.CRS.get(name, name))
    except pyproj.exceptions.CRSError:
        raise EEError(say('crs', name=name)) from None


def forward(transform, x, y):
    """Pixels to units."""
    return transform[0] * x + transform[2], transform[4] * y + transform[5]


def backward(transform, x, y):
    """Units to pixels."""
    return (x - transform[2]) / transform[0], (y - transform[5]) / transform[4]


def warp(transform, x, y):
    """A row x and a column y of a grid in another system, by a polynomial through 12 x 12 of its
    points, much faster than PROJ at each; or by PROJ, where that isn't as exact."""
    nodes = np.polynomial.chebyshev.chebpts1(12)
    vander = np.polynomial.chebyshev.chebvander
    spans = [((line.min() + line.max()) / 2, np.ptp(line) / 2 or 1) for line in (x, y)]
    across, down = (vander((line.ravel() - middle) / half, 11) @ np.linalg.inv(vander(nodes, 11))
                    for line, (middle, half) in zip((x, y), spans))
    known = transform(*np.meshgrid(*(middle + half * nodes for middle, half in spans)))
    cols, rows = (np.linspace(0, line.size - 1, 4).astype(int) for line in (x, y))
    right = transform(*np.meshgrid(x.ravel()[cols], y.ravel()[rows]))
    if all(np.allclose(down[rows] @ part @ across[cols].T, true, rtol=1e-12, atol=1e-12)
           for part, true in zip(known, right)):
        return tuple(down @ part @ across.T for part in known)
    return transform(*map(np.array, np.broadcast_arrays(x, y)))


class Pixels:
    """Places at which an image is asked for: pixel coordinates x and y in a projection, arrays that
    broadcast to shape. Those of a grid are a row and a column, of the centres of its pixels."""

    def __init__(self, projection, x, y, is_grid=False):
        self.projection, self.x, self.y, self.is_grid = projection, x, y, is_grid
        self.shape = np.broadcast_shapes(np.shape(x), np.shape(y))
        self.memo = {}

    def remember(self, key, make):
        """make(), called once for a key."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def coordinates(self, projection):
        """x and y in pixels of another projection."""
        if projection == self.projection:
            return self.x, self.y
        return self.remember(projection, lambda: backward(
            projection.transform, *self.units(projection.crs)))

    def units(self, crs):
        """x and y in the units of a coordinate system."""
        x, y = forward(self.projection.transform, self.x, self.y)
        if crs == self.projection.crs:
            return x, y
        transform = datasets.projector(self.projection.crs, crs).transform
        if self.is_grid and min(self.shape) > 31:
            return self.remember(crs, lambda: warp(transform, x, y))
        return self.remember(crs, lambda: transform(*map(np.array, np.broadcast_arrays(x, y))))

    def place(self, projection):
        """The Place for a dataset with such a grid."""
        return self.remember(('place', projection), lambda: Place(self, projection))


class Place:
    """Pixels as a dataset wants them: col and row of its own cells, lon and lat in degrees."""

    def __init__(self, pixels, projection):
        self.pixels, self.projection = pixels, projection

    def cells(self, axis):
        """Numbers of columns (0) or rows (1)."""
        return np.floor(self.pixels.coordinates(self.projection)[axis]).astype(np.int64)

    col = functools.cached_property(lambda self: self.cells(0))
    row = functools.cached_property(lambda self: self.cells(1))
    lon = property(lambda self: self.pixels.coordinates(WGS84)[0])
    lat = property(lambda self: self.pixels.coordinates(WGS84)[1])


def grid_of_pixels(projection, col, row, width, height):
    """The Pixels of a rectangle of a projection's grid."""
    return Pixels(projection, np.arange(col, col + width)[None] + .5,
                  np.arange(row, row + height)[:, None] + .5, is_grid=True)


# ---------------------------------------------------------------- values

class Geometry:
    """A shapely geometry in the pixels of a projection."""

    def __init__(self, shape, projection=WGS84):
        self.shape, self.projection, self.known = shape, projection, {projection: shape}

    def to(self, projection):
        """The shape in pixels of another projection; long edges get vertices to bend at."""
        if projection not in self.known:
            shape, own = self.shape, self.projection
            if own.crs != projection.crs and not shape.is_empty:
                west, south, east, north = shape.bounds
                shape = shape.segmentize(max(east - west, north - south) / 1024 or 1)

            def convert(points):
                pixels = Pixels(own, *points.T)
                return np.stack(pixels.coordinates(projection), axis=1)
            self.known[projection] = shapely.transform(shape, convert)
        return self.known[projection]

    def degrees(self):
        """The shape in degrees."""
        return self.to(WGS84)


def rectangle(west, south, east, north):
    """With the corners in the order of Earth Engine."""
    return shapely.Polygon([(west, south), (east, south), (east, north), (west, north)])


class PixelType(NamedTuple):
    """Earth Engine's type of a band: precision 'int', 'float' or 'double', and limits of an int."""
    precision: str
    low: float = None
    high: float = None

    def dtype(self):
        """The smallest numpy type that holds it."""
        if self.precision != 'int':
            return np.dtype('float32' if self.precision == 'float' else 'float64')
        for name in 'uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32':
            if np.iinfo(name).min <= self.low and self.high <= np.iinfo(name).max:
                return np.dtype(name)
        return np.dtype('int64')


@functools.cache
def pixel_type(name):
    """The PixelType of a numpy integer type, float or double."""
    if name in ('float', 'double'):
        return PixelType(name)
    return PixelType('int', int(np.iinfo(name).min), int(np.iinfo(name).max))


BYTE, INT32, FLOAT, DOUBLE = map(pixel_type, ('uint8', 'int32', 'float', 'double'))
BOOLEAN = PixelType('int', 0, 1)


class Band:
    """A band; sample(pixels) returns its values and where they are valid, arrays that broadcast to
    the shape of the pixels."""

    def __init__(self, name, type_, projection, sample):
        self.name, self.type, self.projection, self.sample = name, type_, projection, sample
        self.last = None, None

    def at(self, pixels):
        """sample(), which remembers its last result: many bands use one."""
        if self.last[0] is not pixels:
            self.last = pixels, self.sample(pixels)
        return self.last[1]

    def but(self, sample=None, name=None, type_=None, projection=None):
        """The same band but for some attributes."""
        return Band(name or self.name, type_ or self.type, projection or self.projection,
                    sample or self.at)


class Feature:
    """A geometry (or None) with properties; index is its system:index."""
    images = False

    def __init__(self, geometry, properties, index=None):
        self.geometry, self.properties, self.index = geometry, properties, index

    def replace(self, **changes):
        """A copy with some attributes changed."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    def get(self, name):
        """A property, or None."""
        if name == '.geo':
            return self.geometry
        return self.index if name == 'system:index' else self.properties.get(name)

    def set(self, values):
        """A copy with other properties; null removes one."""
        properties = {**self.properties, **values}
        index = properties.pop('system:index', self.index)
        return self.replace(index=index, properties={
            name: value for name, value in properties.items() if value is not None})


class Image(Feature):
    """Bands with properties; geometry is the footprint, None if unbounded; grid is (Projection,
    col, row, width, height) if it was cut to a rectangle of pixels."""
    images = True

    def __init__(self, bands, properties=None, geometry=None, index=None, asset=None, grid=None):
        super().__init__(geometry, properties or {}, index)
        self.bands, self.asset, self.grid = bands, asset, grid

    def computed(self, bands):
        """An image computed from this one: it keeps the footprint but not the properties."""
        return self.replace(bands=bands, properties={}, asset=None)

    def names(self):
        """The names of the bands."""
        return [band.name for band in self.bands]

    def projection(self):
        """That of the first band."""
        return self.bands[0].projection if self.bands else WGS84


class Collection:
    """Elements, listed on demand. A filter can be applied before a dataset lists anything: load
    takes the filters that follow, as hints."""

    def __init__(self, load, images=False):
        self.load, self.images, self.memo = load, images, {}

    def elements(self, hints=()):
        """The list of what passes the hints, and perhaps more."""
        if hints not in self.memo:
            self.memo[hints] = self.load(hints)
        return self.memo[hints]

    @functools.cached_property
    def region(self):
        """All geometries as one."""
        return Geometry(shapely.union_all([element.geometry.degrees()
                                           for element in self.elements() if element.geometry]))


def collect(elements):
    """The Collection of a list; elements without an index get their number."""
    elements = [element if element.index is not None else element.replace(index=str(number))
                for number, element in enumerate(elements)]
    return Collection(lambda hints: elements, bool(elements) and elements[0].images)


class Date(NamedTuple):
    """Milliseconds since 1970-01-01 UTC."""
    value: int

    def moment(self):
        """The same as a datetime."""
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=self.value)


class DateRange(NamedTuple):
    """From start to before end, in milliseconds."""
    start: int
    end: int


class Filter(NamedTuple):
    """A test of an element; box (degrees), start and end (ms) are limits of what can pass it."""
    test: Any
    box: tuple = None
    start: float = None
    end: float = None


class Reducer(NamedTuple):
    """functions, {output: function of an array, in which NaN is null, and an axis}; or, as toList
    does, tuples of so many inputs, of which the last may be null if they are optional."""
    functions: dict
    inputs: int = 1
    optional: int = 0


# ---------------------------------------------------------------- casts

def constant_image(value):
    """An image of a number, or of a band for each of a list or dictionary of numbers."""
    if isinstance(value, list):
        value = {f'constant_{n}': number for n, number in enumerate(value)}

    def band(name, number):
        whole = not isinstance(number, float)
        array = np.asarray(number, np.int64 if whole else None)
        return Band(name, PixelType('int', int(number), int(number)) if whole else DOUBLE, WGS84,
                    lambda pixels: (array, np.True_))
    return Image([band(*item) for item in (
        value if isinstance(value, dict) else {'constant': value}).items()])


def exactly(name, kinds):
    """A cast that changes nothing but refuses other types."""
    def cast(value):
        if not isinstance(value, kinds):
            raise EEError(say_of_caller('type', expected=name, actual=type(value).__name__))
        return value
    return cast


def as_image(value):
    """An image, or that of a number."""
    return constant_image(value) if isinstance(value, (int, float, list, dict)) else (
        exactly('Image', Image)(value))


def as_geometry(value):
    """A geometry, or that of a feature or collection."""
    if isinstance(value, Collection):
        return value.region
    return value.geometry if isinstance(value, Feature) else exactly('Geometry', Geometry)(value)


def as_collection(value):
    """A collection, or that of an element, geometry or list of them."""
    if isinstance(value, (Feature, Geometry)):
        value = [value]
    if isinstance(value, list):
        return collect([item if isinstance(item, Feature) else Feature(as_geometry(item), {})
                        for item in value])
    return exactly('FeatureCollection', Collection)(value)


def as_projection(value):
    """A projection, or that of a name."""
    if isinstance(value, str):
        find_crs(value)
        return Projection(value)
    return value


def as_date(value):
    """Date of a Date, a number of milliseconds or an ISO string such as 2000, 2000-01 or longer."""
    if isinstance(value, Date):
        return value
    if isinstance(value, (int, float)):
        return Date(int(value))
    try:
        longer = value + '-01' * (2 - value.count('-')) if len(value) <= 7 else value
        moment = datetime.datetime.fromisoformat(longer)
        utc = moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
        return Date(round(utc.timestamp() * 1000))
    except ValueError:
        raise EEError(say('date', text=value)) from None


CASTS = {
    'Image<unknown bands>': as_image, 'Geometry': as_geometry, 'FeatureCollection': as_collection,
    'ImageCollection': as_collection, 'Projection': as_projection, 'Date': as_date,
    'String': exactly('String', str),
    **dict.fromkeys(('Number', 'Float', 'Integer', 'Long'), exactly('Number', (int, float)))}
