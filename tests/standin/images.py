"""The algorithms on images and image collections, and the reducers."""
import ast
import functools
import math
import re
import warnings

import numpy as np
import rasterio.features
import shapely

import datasets
from algorithms import (BINARY, CASTS_TO, UNARY, WHOLE, clamp_to, collect, comparable, distinct,
                        find_asset, plain, rectangle, refuse_work, snake, to_string)
from values import (ALGORITHMS, BOOLEAN, DOUBLE, FLOAT, INT32, WGS84, Band, Collection, Date,
                    EEError, Feature, Geometry, Image, Pixels, PixelType, Projection, Reducer,
                    algorithm, as_collection, as_geometry, as_image, constant_image, forward,
                    grid_of_pixels, pixel_type, refuse_long)

warnings.filterwarnings('ignore', 'All-NaN|Mean of empty|Degrees of freedom', RuntimeWarning)
BLOCK = 2000000  # pixels worked on at a time


# ---------------------------------------------------------------- loading

@functools.lru_cache(maxsize=20000)
def scene_image(scene, asset):
    """The Image of a datasets.Scene."""
    def band(name, kind, grid):
        projection = Projection(grid.crs, grid.transform)

        def sample(pixels):
            place = pixels.place(projection)
            inside = place.within(grid.width, grid.height)
            if inside is not None and not inside.any():
                return np.zeros((), np.int64), inside
            values, mask = scene.value(name, place)
            return values, both(mask, inside)
        return LeafBand(name, pixel_type(kind), projection, sample, (grid.width, grid.height))
    times = {'system:time_start': scene.start, 'system:time_end': scene.end}
    return Image([band(name, *rest) for name, rest in scene.bands.items()],
                 {**scene.properties, **times},
                 scene.footprint and Geometry(scene.footprint), scene.index, asset)


class LeafBand(Band):
    """A band of a dataset: it outlives a request, so it remembers nothing."""

    def at(self, pixels):
        return self.sample(pixels)


@algorithm('ImageCollection.load')
def load_collection(name, _):
    table = {key: value for key, value in datasets.IMAGES.items() if value.kind != 'Image'}
    dataset = find_asset('ImageCollection', table, name)

    def load(hints):
        starts = [hint.start for hint in hints if hint.start is not None]
        ends = [hint.end for hint in hints if hint.end is not None]
        try:
            scenes = dataset.find(next((hint.box for hint in hints if hint.box), None),
                                  max(starts, default=None), min(ends, default=None))
        except datasets.TooMany:
            refuse_long(math.inf)
        return [scene_image(scene, f'{name}/{scene.index}') for scene in scenes]
    return Collection(load, True, name)


@algorithm('Image.load')
def load_image(name, _):
    if name in datasets.IMAGES and datasets.IMAGES[name].kind == 'Image':
        return scene_image(datasets.IMAGES[name].find(None, None, None)[0], name)
    parent, _, index = name.rpartition('/')
    if parent in datasets.IMAGES and parent.startswith(('MODIS/', 'ESA/')):
        for scene in datasets.IMAGES[parent].find(None, None, None):
            if scene.index == index:
                return scene_image(scene, name)
    return find_asset('Image', {}, name)


# ---------------------------------------------------------------- bands

def both(first, second):
    """The mask of what is valid in two."""
    return second if first is None else first if second is None else first & second


def wide(values):
    """The same in 64 bits, so that sums of bytes have room."""
    if values.dtype.itemsize == 8:
        return values
    return values.astype('float64' if values.dtype.kind == 'f' else 'int64')


def result_type(name, left, right):
    """The PixelType of an operation on two."""
    if name in ('lt', 'lte', 'gt', 'gte', 'eq', 'neq', 'and', 'or'):
        return BOOLEAN
    if 'double' in (left.precision, right.precision) or name in ('atan2', 'hypot'):
        return DOUBLE
    if 'float' in (left.precision, right.precision) or name == 'divide':
        return FLOAT if max(left.dtype().itemsize, right.dtype().itemsize) <= 4 else DOUBLE
    if name in ('add', 'subtract', 'multiply'):
        ends = [int(BINARY[name](a, b)) for a in left[1:] for b in right[1:]]
        return PixelType('int', min(ends), max(ends))
    if name == 'pow':
        return INT32
    return PixelType('int', min(left.low, right.low), max(left.high, right.high))


def image_binary(name, function):
    """An algorithm on pairs of bands; a single band goes with all of the other image."""
    def combine(left, right):
        kind = result_type(name, left.type, right.type)

        def sample(pixels):
            a, valid_a = left.at(pixels)
            b, valid_b = right.at(pixels)
            values = function(wide(a), wide(b))
            if kind is FLOAT or kind == FLOAT:
                values = values.astype(np.float32)
            return values, both(valid_a, valid_b)
        return sample, kind

    def compute(image1, image2):
        lefts, rights = image1.bands, image2.bands
        if len(lefts) != len(rights) and 1 not in (len(lefts), len(rights)) and lefts and rights:
            raise EEError(f'Image.{name}: Images must have the same number of bands, or one of '
                          f'them a single one. Got {len(lefts)} and {len(rights)}.')
        longer = lefts if len(lefts) >= len(rights) else rights
        lefts = lefts * len(longer) if len(lefts) == 1 else lefts
        rights = rights * len(longer) if len(rights) == 1 else rights
        bands = [left.but(*pair[:1], name=base.name, type_=pair[1])
                 for base, left, right in zip(longer, lefts, rights)
                 for pair in [combine(left, right)]]
        return image1.computed(bands)
    return compute


def image_unary(function, kind_of):
    """An algorithm that changes the values of each band; kind_of gives its new type."""
    def change(band):
        kind = kind_of(band.type)

        def sample(pixels):
            values, mask = band.at(pixels)
            return np.asarray(function(wide(values))), mask
        return band.but(sample, type_=kind)
    return lambda image: image.replace(bands=[change(band) for band in image.bands])


def unary_type(name):
    if name in ('not', 'signum', 'bitCount'):
        return lambda kind: PixelType('int', -1, 64) if name != 'not' else BOOLEAN
    return (lambda kind: kind if kind.precision != 'int' else INT32) if name in WHOLE else (
        lambda kind: DOUBLE)


for _name, _function in BINARY.items():
    algorithm(f'Image.{_name}', f'Image.{snake(_name)}')(image_binary(_name, _function))
for _name, _function in UNARY.items():
    algorithm(f'Image.{_name}', f'Image.{snake(_name)}')(image_unary(_function, unary_type(_name)))
for _name, _kind in CASTS_TO.items():
    algorithm(f'Image.{_name}')(image_unary(functools.partial(clamp_to, _kind),
                                            lambda kind, new=_kind: pixel_type(new)))


def find_bands(name, image, selectors):
    """The bands that selectors mean: names, regular expressions or numbers."""
    bands = []
    for selector in selectors:
        if isinstance(selector, (int, float)):
            chosen = image.bands[int(selector):][:1]
        else:
            chosen = [band for band in image.bands if band.name == selector] or [
                band for band in image.bands if re.fullmatch(selector, band.name)]
        if not chosen:
            available = ', '.join(band.name for band in image.bands)
            raise EEError(f"{name}: Band pattern '{selector}' did not match any bands. "
                          f'Available bands: [{available}]')
        bands += chosen
    return bands


@algorithm('Image.select')
def select(image, selectors, names):
    bands = find_bands('Image.select', image, selectors)
    if names is not None:
        if len(names) != len(bands):
            raise EEError(f'Image.select: Expected {len(bands)} names, got {len(names)}.')
        bands = [band.but(name=name) for band, name in zip(bands, names)]
    return image.replace(bands=bands)


@algorithm('Image.rename')
def rename(image, names):
    if len(names) != len(image.bands):
        raise EEError(f'Image.rename: The number of names ({len(names)}) must match the number of '
                      f'bands ({len(image.bands)}).')
    return image.replace(bands=[band.but(name=name) for band, name in zip(image.bands, names)])


@algorithm('Image.addBands')
def add_bands(image, other, names, overwrite):
    """A name that is taken gets _1, _2 and so on, unless it overwrites."""
    bands = {band.name: band for band in image.bands}
    for band in find_bands('Image.addBands', other, names) if names else other.bands:
        name, number = band.name, 0
        while name in bands and not overwrite:
            number += 1
            name = f'{band.name}_{number}'
        bands[name] = band.but(name=name)
    return image.replace(bands=list(bands.values()))


@algorithm('Image.cat')
def cat(images):
    return functools.reduce(lambda left, right: add_bands(left, as_image(right), None, False),
                            images[1:], as_image(images[0]))


def one_or_each(bands, count):
    return bands * count if len(bands) == 1 else bands


def with_mask(band, test, keep):
    """The band where a test is not 0; of its own mask too if keep."""
    def sample(pixels):
        values, mask = band.at(pixels)
        passed, valid = test.at(pixels)
        return values, both(both(passed != 0, valid), mask if keep else None)
    return band.but(sample)


@algorithm('Image.updateMask')
def update_mask(image, test):
    return image.replace(bands=[with_mask(band, part, True) for band, part in zip(
        image.bands, one_or_each(test.bands, len(image.bands)))])


@algorithm('Image.mask')
def mask_of(image, test):
    """With one argument the mask itself."""
    if test is not None:
        return image.replace(bands=[with_mask(band, part, False) for band, part in zip(
            image.bands, one_or_each(test.bands, len(image.bands)))])

    def of_band(band):
        def sample(pixels):
            mask = band.at(pixels)[1]
            return np.asarray(1 if mask is None else mask), None
        return band.but(sample, type_=BOOLEAN)
    return image.computed([of_band(band) for band in image.bands])


@algorithm('Image.selfMask')
def self_mask(image):
    return update_mask(image, image) if len(image.bands) else image


@algorithm('Image.unmask')
def unmask(image, value, same_footprint):
    fillers = one_or_each((constant_image(0) if value is None else value).bands, len(image.bands))

    def fill(band, filler):
        def sample(pixels):
            values, mask = band.at(pixels)
            if mask is None:
                return values, None
            other, valid = filler.at(pixels)
            return np.where(mask, values, other), None if valid is None else mask | valid
        return band.but(sample, type_=result_type('max', band.type, filler.type))
    return image.replace(bands=[fill(*pair) for pair in zip(image.bands, fillers)])


@algorithm('Image.where')
def where(image, test, value):
    def choose(band, test, value):
        def sample(pixels):
            values, mask = band.at(pixels)
            passed, valid = test.at(pixels)
            other, given = value.at(pixels)
            chosen = both(passed != 0, both(valid, given))
            return np.where(chosen, other, values), mask
        return band.but(sample, type_=result_type('max', band.type, value.type))
    count = len(image.bands)
    return image.replace(bands=[choose(*parts) for parts in zip(
        image.bands, one_or_each(test.bands, count), one_or_each(value.bands, count))])


@algorithm('Image.remap')
def remap(image, old, new, default, name):
    """Values that are not listed are masked, unless there is a default."""
    band = find_bands('Image.remap', image, [name])[0] if name else image.bands[0]
    order = np.argsort(old)
    old, new = np.asarray(old)[order], np.asarray(new)[order]

    def sample(pixels):
        values, mask = band.at(pixels)
        places = np.clip(np.searchsorted(old, values), 0, len(old) - 1)
        known = old[places] == values
        if default is not None:
            return np.where(known, new[places], default), mask
        return new[places], both(known, mask)
    kind = INT32 if new.dtype.kind == 'i' else DOUBLE
    return image.replace(bands=[band.but(sample, 'remapped', kind)])


@algorithm('Image.normalizedDifference')
def normalized_difference(image, names):
    """(first - second) / (first + second), masked where either is negative or the sum is 0."""
    first, second = find_bands('Image.normalizedDifference', image, names or [0, 1])

    def sample(pixels):
        (a, valid_a), (b, valid_b) = first.at(pixels), second.at(pixels)
        a, b = wide(a), wide(b)
        fine = (a >= 0) & (b >= 0) & (a + b != 0)
        return ((a - b) / np.where(fine, a + b, 1)).astype(np.float32), both(
            fine, both(valid_a, valid_b))
    return image.computed([first.but(sample, 'nd', FLOAT)])


def parse_expression(text, argument, names, _):
    """A function of images, from a text such as '(b("B8") - x) / (b(0) + x.B4)'."""
    body = ast.parse(text.replace('&&', ' & ').replace('||', ' | ').strip(), mode='eval').body
    operations = {
        ast.Add: 'add', ast.Sub: 'subtract', ast.Mult: 'multiply', ast.Div: 'divide',
        ast.Mod: 'mod', ast.Pow: 'pow', ast.Lt: 'lt', ast.LtE: 'lte', ast.Gt: 'gt', ast.GtE: 'gte',
        ast.Eq: 'eq', ast.NotEq: 'neq', ast.BitAnd: 'and', ast.BitOr: 'or'}

    def visit(node, given):
        match node:
            case ast.Constant():
                return constant_image(node.value)
            case ast.Name():
                return given[node.id]
            case ast.Attribute():
                return select(visit(node.value, given), [node.attr], None)
            case ast.Subscript():
                return select(visit(node.value, given), [node.slice.value], None)
            case ast.UnaryOp(op=ast.USub()):
                return ALGORITHMS['Image.subtract'](constant_image(0), visit(node.operand, given))
            case ast.BinOp():
                return ALGORITHMS[f'Image.{operations[type(node.op)]}'](
                    visit(node.left, given), visit(node.right, given))
            case ast.Compare(ops=[operation]):
                return ALGORITHMS[f'Image.{operations[type(operation)]}'](
                    visit(node.left, given), visit(node.comparators[0], given))
            case ast.Call(func=ast.Name(id='b')):
                chosen = [part.value for part in node.args]
                return select(given[argument], chosen, None) if chosen else given[argument]
            case ast.Call(func=ast.Name()):
                function = ALGORITHMS[f'Image.{node.func.id}']
                return function(*(visit(arg, given) for arg in node.args))
        raise EEError(f'Image.parseExpression: The stand-in knows no {type(node).__name__}.')

    def function(*images):
        return visit(body, dict(zip(names, images)))
    function.names = names
    return function


algorithm('Image.parseExpression')(parse_expression)


# ---------------------------------------------------------------- places of images

@algorithm('Image.projection')
def projection_of(image):
    if len({band.projection for band in image.bands}) > 1:
        raise EEError('Image.projection: The bands of the specified image contains different '
                      'projections. Use Image.select to pick a single band.')
    return image.projection()


def working_projection(image, crs, transform, scale):
    """What the arguments of an algorithm mean; by default the grid of the first band."""
    projection = crs or image.projection()
    if transform:
        return projection._replace(transform=tuple(transform))
    return projection.at_scale(scale) if scale else projection


@algorithm('Image.setDefaultProjection')
def set_default_projection(image, crs, transform, scale):
    projection = working_projection(image, crs, transform, scale)
    return image.replace(bands=[band.but(projection=projection) for band in image.bands], grid=None)


@algorithm('Image.reproject')
def reproject(image, crs, transform, scale):
    """Values at the centres of the pixels of a grid, wherever in them one asks."""
    projection = working_projection(image, crs, transform, scale)

    def snap(band):
        def sample(pixels):
            if pixels.projection == projection and pixels.is_grid and not (
                    pixels.x.flat[0] % 1 - .5 or pixels.y.flat[0] % 1 - .5):
                return band.at(pixels)
            return band.at(pixels.snapped(projection))
        return band.but(sample, projection=projection)
    return image.replace(bands=[snap(band) for band in image.bands], grid=None)


@algorithm('Image.resample')
def resample(image, mode):
    """Bilinear between the centres of the pixels of the band's own grid."""
    if mode != 'bilinear':
        raise EEError('Image.resample: The stand-in knows only bilinear.')

    def smooth(band):
        def sample(pixels):
            x, y = pixels.coordinates(band.projection)
            left, top = np.floor(x - .5), np.floor(y - .5)
            total, valid = 0, None
            for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)):
                weight = abs(1 - i - (x - .5 - left)) * abs(1 - j - (y - .5 - top))
                values, mask = band.at(Pixels(band.projection, left + i + .5, top + j + .5))
                total, valid = total + weight * values, both(valid, mask)
            return total, valid
        return band.but(sample, type_=DOUBLE)
    return image.replace(bands=[smooth(band) for band in image.bands])


def inside(geometry, pixels):
    """Where the centres of pixels are in a geometry."""
    return pixels.remember(geometry, lambda: find_inside(geometry, pixels))


def find_inside(geometry, pixels):
    if pixels.is_grid:
        return burn(geometry.to(pixels.projection), pixels.x.flat[0] - .5, pixels.y.flat[0] - .5,
                    *pixels.shape)
    x, y = pixels.coordinates(geometry.projection)
    shapely.prepare(geometry.shape)
    return shapely.contains_xy(geometry.shape, *np.broadcast_arrays(x, y))


def burn(shape, col, row, height, width):
    """The mask of a shape in pixels on a block of the grid."""
    if shape.is_empty or not shapely.box(col, row, col + width, row + height).intersects(shape):
        return np.zeros((height, width), bool)
    return rasterio.features.rasterize(
        [shape], (height, width), transform=rasterio.Affine.translation(col, row),
        dtype='uint8').view(bool)


@algorithm('Image.clip')
def clip(image, geometry):
    geometry = as_geometry(geometry)

    def cut(band):
        def sample(pixels):
            values, mask = band.at(pixels)
            return values, both(mask, inside(geometry, pixels))
        return band.but(sample)
    return image.replace(bands=[cut(band) for band in image.bands], geometry=geometry, grid=None)


algorithm('Image.clipToCollection')(clip)


def bounds_in(image, geometry):
    """West, top, east, bottom in pixels of an image's projection (or south, north of degrees)."""
    geometry = geometry or image.geometry
    if geometry is None:
        raise EEError('Image: Unable to compute the bounds of an unbounded image; give a region.')
    if geometry.shape.is_empty:
        raise EEError('Image: The region is empty.')
    return geometry.to(image.projection()).bounds


def grid_of(image):
    """(Projection, col, row, width, height) of the picture of an image, with north on top."""
    if image.grid:
        return image.grid
    projection = image.projection()
    west, top, east, bottom = bounds_in(image, None)
    a, b, c, d, e, f = projection.transform
    if e > 0 and not b and not d:
        projection = projection._replace(transform=(a, b, c, d, -e, f))
        top, bottom = -bottom, -top
    col, row = math.floor(west + 1e-6), math.floor(top + 1e-6)
    return projection, col, row, math.ceil(east - 1e-6) - col, math.ceil(bottom - 1e-6) - row


@algorithm('Image.clipToBoundsAndScale')
def clip_to_bounds_and_scale(image, geometry, width, height, largest, scale):
    """Cuts an image to the box of a geometry, in its own projection, in so many pixels."""
    west, top, east, bottom = bounds_in(image, geometry)
    projection, wide_, high = image.projection(), east - west, bottom - top
    a, b, c, d, e, f = projection.transform
    if scale:  # on the grid from the origin of the projection
        cut = image.replace(
            bands=[band.but(projection=projection.at_scale(scale)) for band in image.bands],
            geometry=geometry or image.geometry, grid=None)
        grid = grid_of(cut)
    elif not (width or height or largest):
        grid = grid_of(image.replace(geometry=geometry or image.geometry, grid=None))
    else:
        if largest:
            ratio = largest / max(wide_, high)
            width, height = wide_ * ratio, high * ratio
        width = max(1, round(width or height * wide_ / high))
        height = max(1, round(height or width * high / wide_))
        x, y = forward(projection.transform, west, bottom if e > 0 and not (b or d) else top)
        step, down = wide_ / width, high / height * (-1 if e > 0 and not (b or d) else 1)
        grid = Projection(projection.crs, (a * step, b * down, x, d * step, e * down, y)
                          ), 0, 0, width, height
    return cut_to_grid(image, grid)


def cut_to_grid(image, grid):
    """The image in the rectangle of a grid, which becomes its projection."""
    projection, col, row, width, height = grid
    frame = Geometry(rectangle(col, row, col + width, row + height), projection, False)

    def cut(band):
        def sample(pixels):
            values, mask = band.at(pixels)
            if pixels.projection == projection and pixels.is_grid and (
                    col < pixels.x.min() and pixels.x.max() < col + width
                    and row < pixels.y.min() and pixels.y.max() < row + height):
                return values, mask
            return values, both(mask, inside(frame, pixels))
        return band.but(sample, projection=projection)
    return image.replace(bands=[cut(band) for band in image.bands], geometry=frame, grid=grid)


def coordinate_image(name, kind):
    """An image of longitude, latitude or the area of a pixel."""
    def sample(pixels):
        x, y = pixels.coordinates(WGS84)
        return np.broadcast_to(x if kind == 'x' else y, pixels.shape), None
    return Band(name, DOUBLE, WGS84, sample)


@algorithm('Image.pixelLonLat')
def pixel_lon_lat():
    return Image([coordinate_image('longitude', 'x'), coordinate_image('latitude', 'y')])


@algorithm('Image.pixelArea')
def pixel_area():
    """Square metres; those of a grid in degrees shrink with the latitude."""
    def sample(pixels):
        area = pixels.projection.scale() ** 2
        if pixels.projection.crs == WGS84.crs:
            area = area * np.cos(np.radians(pixels.coordinates(WGS84)[1]))
        return np.broadcast_to(area, pixels.shape), None
    return Image([Band('area', DOUBLE, WGS84, sample)])


@algorithm('Image.paint')
def paint(image, collection, color, width):
    """Fills the geometries with a number, or with that of a property."""
    if width is not None:
        raise EEError('Image.paint: The stand-in paints no outlines.')
    shapes = [(feature.geometry, feature.get(color) if isinstance(color, str) else color)
              for feature in collection.elements()]

    def cover(band):
        def sample(pixels):
            values, mask = band.at(pixels)
            values = np.array(np.broadcast_to(values, pixels.shape))
            for geometry, number in shapes:
                if geometry is not None and number is not None:
                    values[find_inside(geometry, pixels)] = number
            return values, mask
        numbers = [int(number) for _, number in shapes if number is not None] or [0]
        kind = band.type if band.type.precision != 'int' else PixelType(
            'int', min(band.type.low, *numbers), max(band.type.high, *numbers))
        return band.but(sample, type_=kind)
    return image.replace(bands=[cover(band) for band in image.bands])


@algorithm('Collection.reduceToImage')
def reduce_to_image(collection, properties, reducer):
    """Pixels get what the reducer makes of the features over them; others are masked."""
    if len(properties) != 1 or reducer.inputs != 1 or not reducer.stack:
        raise EEError('Collection.reduceToImage: The stand-in reduces one property, to numbers.')
    shapes = [(feature.geometry, feature.get(properties[0])) for feature in collection.elements()
              if feature.geometry and feature.get(properties[0]) is not None]

    def sample(number, pixels):
        stack = np.full((len(shapes) or 1, *pixels.shape), np.nan)
        for layer, (geometry, value) in zip(stack, shapes):
            layer[find_inside(geometry, pixels)] = value
        values = reducer.stack(stack)[number]
        return np.nan_to_num(values), ~np.isnan(stack).all(axis=0)
    return Image([Band(name, DOUBLE, WGS84, functools.partial(sample, number))
                  for number, name in enumerate(reducer.outputs)])


# ---------------------------------------------------------------- pictures

def numbers_for(value, count):
    """A number, list or text such as '0, 255' as a list of count numbers."""
    if isinstance(value, str):
        value = [float(part) for part in value.split(',')]
    values = value if isinstance(value, list) else [value]
    return values * count if len(values) == 1 else values


def color_of(text):
    """Red, green, blue from 'ff8000', '#ff8000' or a name."""
    from PIL import ImageColor  # here, as only palettes need it
    code = text.strip()
    return ImageColor.getrgb(f'#{code}' if re.fullmatch('[0-9A-Fa-f]{6}', code) else code)[:3]


@algorithm('Image.visualize')
def visualize(image, bands, gain, bias, low, high, gamma, opacity, palette, force_rgb):
    """Bytes vis-red, vis-green and vis-blue, or vis-gray, of 1 or 3 bands."""
    if opacity not in (None, 1):
        raise EEError('Image.visualize: The stand-in knows no opacity.')
    names = [part.strip() for part in bands.split(',')] if isinstance(bands, str) else bands
    chosen = find_bands('Image.visualize', image, names) if names else image.bands[:3]
    if len(chosen) not in (1, 3):
        raise EEError(f'Image.visualize: Expected 1 or 3 bands, got {len(chosen)}.')
    if palette and len(chosen) > 1:
        raise EEError('Image.visualize: A palette needs a single band.')

    def stretch(band, low, high, gamma, gain, bias):
        if band.type.precision == 'int' and low is None:
            low, high = band.type.low, high if high is not None else band.type.high
        low, high = low or 0, 1 if high is None else high
        as_is = band.type == pixel_type('uint8') and (
            (low, high, gamma, gain) == (0, 255, None, None))

        def sample(pixels):
            values, mask = band.at(pixels)
            if not as_is:
                values = wide(values)
                values = values * gain + (bias or 0) if gain is not None else (
                    (values - low) / (high - low) * 255)
                values = np.clip(values, 0, 255)
                if gamma:
                    values = 255 * (values / 255) ** (1 / gamma)
                values = np.floor(values + .5)
            return values, mask
        return sample
    settings = zip(*(numbers_for(value, 3) for value in (low, high, gamma, gain, bias)))
    layers = [stretch(*pair) for pair in zip(chosen, *zip(*settings))]
    names = ['vis-gray'] if len(chosen) == 1 and not (palette or force_rgb) else [
        'vis-red', 'vis-green', 'vis-blue']
    if palette:
        colors = np.array([color_of(part) for part in (
            palette.split(',') if isinstance(palette, str) else palette)])
        layers = [colored(layers[0], channel) for channel in colors.T]
    return image.replace(bands=[
        chosen[0].but(layer, name, pixel_type('uint8')) for layer, name in zip(
            layers * (3 if len(layers) < len(names) else 1), names)])


def colored(layer, channel):
    """A channel of a palette, between the colours of which values from 0 to 255 lie."""
    def sample(pixels):
        values, mask = layer(pixels)
        return np.rint(np.interp(values, np.linspace(0, 255, len(channel)), channel)), mask
    return sample


# ---------------------------------------------------------------- reducers

def quiet_first(values):
    return values[0] if len(values) else None


def valid_at(stack, last):
    """The first or last number that is not NaN, of each pixel."""
    valid = ~np.isnan(stack)
    index = len(stack) - 1 - np.argmax(valid[::-1], axis=0) if last else np.argmax(valid, axis=0)
    return np.take_along_axis(stack, index[None], axis=0)[0]


def most_frequent(values):
    kinds, counts = np.unique(np.asarray(values), return_counts=True)
    return kinds[np.argmax(counts)]


STATISTICS = {  # name: function of a column, function of a stack with NaN, result for no values
    'min': (np.min, lambda stack: np.nanmin(stack, axis=0), None),
    'max': (np.max, lambda stack: np.nanmax(stack, axis=0), None),
    'mean': (np.mean, lambda stack: np.nanmean(stack, axis=0), None),
    'median': (np.median, lambda stack: np.nanmedian(stack, axis=0), None),
    'sum': (np.sum, lambda stack: np.nansum(stack, axis=0), 0),
    'product': (np.prod, lambda stack: np.nanprod(stack, axis=0), 1),
    'stdDev': (np.std, lambda stack: np.nanstd(stack, axis=0), None),
    'variance': (np.var, lambda stack: np.nanvar(stack, axis=0), None),
    'sampleStdDev': (lambda column: np.std(column, ddof=1),
                     lambda stack: np.nanstd(stack, axis=0, ddof=1), None),
    'sampleVariance': (lambda column: np.var(column, ddof=1),
                       lambda stack: np.nanvar(stack, axis=0, ddof=1), None),
    'count': (len, lambda stack: (~np.isnan(stack)).sum(axis=0), 0),
    'countEvery': (len, lambda stack: np.full(stack.shape[1:], len(stack)), 0),
    'countDistinct': (lambda column: len(distinct(column)), None, 0),
    'countDistinctNonNull': (lambda column: len(distinct(column)), None, 0),
    'first': (quiet_first, lambda stack: valid_at(stack, False), None),
    'firstNonNull': (quiet_first, lambda stack: valid_at(stack, False), None),
    'last': (lambda column: column[-1], lambda stack: valid_at(stack, True), None),
    'lastNonNull': (lambda column: column[-1], lambda stack: valid_at(stack, True), None),
    'mode': (most_frequent, None, None),
    'and': (np.all, lambda stack: (np.nan_to_num(stack, nan=1) != 0).all(axis=0), None),
    'or': (np.any, lambda stack: (np.nan_to_num(stack) != 0).any(axis=0), None),
    'frequencyHistogram': (
        lambda column: {to_string(key): count for key, count in zip(
            *(part.tolist() for part in np.unique(np.asarray(column), return_counts=True)))},
        None, {})}
SHORT = {'frequencyHistogram': 'histogram', 'sampleStdDev': 'stdDev', 'firstNonNull': 'first',
         'lastNonNull': 'last', 'sampleVariance': 'variance', 'countDistinct': 'count',
         'countDistinctNonNull': 'count', 'countEvery': 'count', 'and': 'all', 'or': 'any'}


def tidy(value):
    """A Python value of what a statistic makes."""
    return plain(value) if isinstance(value, (np.generic, np.ndarray)) else value


def per_pixel(function):
    """A function of a stack that applies a function of a column, slowly."""
    def compute(stack):
        def one(column):
            column = column[~np.isnan(column)]
            return function(column) if column.size else np.nan
        return np.apply_along_axis(one, 0, stack)
    return compute


def statistics(parts):
    """The Reducer of one input and some outputs: {name: (of a column, of a stack, of nothing)}."""
    def rows(columns):
        column = columns[0]
        return [tidy(function(column)) if len(column) else empty
                for function, _, empty in parts.values()]

    def stack(array):
        return [(many or per_pixel(function))(array) for function, many, _ in parts.values()]
    return Reducer(1, list(parts), rows, stack)


def make_statistic(name):
    reducer = statistics({SHORT.get(name, name): STATISTICS[name]})

    def make(inputs=1, *_):
        if name not in ('min', 'max') or inputs in (None, 1):
            return reducer
        best = np.argmin if name == 'min' else np.argmax
        names = [name] + [f'{name}{n}' for n in range(1, int(inputs))]
        return Reducer(int(inputs), names, lambda columns: (
            [tidy(column[int(best(np.asarray(columns[0])))]) for column in columns]
            if len(columns[0]) else [None] * len(columns)))
    return make


for _name in STATISTICS:
    algorithm(f'Reducer.{_name}')(make_statistic(_name))
algorithm('Reducer.allNonZero')(make_statistic('and'))
algorithm('Reducer.anyNonZero')(make_statistic('or'))
algorithm('Reducer.minMax')(lambda: statistics({name: STATISTICS[name] for name in ('min', 'max')}))


@algorithm('Reducer.percentile')
def percentile(values, names, *_):
    def part(value):
        return (lambda column: np.percentile(column, value),
                lambda stack: np.nanpercentile(stack, value, axis=0), None)
    names = names or [f'p{to_string(int(v) if v == int(v) else v)}' for v in values]
    return statistics({name: part(value) for name, value in zip(names, values)})


@algorithm('Reducer.toList')
def to_list(size, optional):
    """A list of values, or of tuples, without those that have a null that is not optional."""
    size, optional = int(size or 1), int(optional or 0)

    def rows(columns):
        columns = [column.tolist() if isinstance(column, np.ndarray) else column
                   for column in columns]
        return [columns[0] if size == 1 else [list(row) for row in zip(*columns)]]
    return Reducer(size, ['list'], rows, optional=optional)


@algorithm('Reducer.linearFit')
def linear_fit():
    def rows(columns):
        if len(columns[0]) < 2:
            return [None, None]
        return [float(number) for number in np.polyfit(*map(np.asarray, columns), 1)]
    return Reducer(2, ['scale', 'offset'], rows)


@algorithm('Reducer.combine')
def combine_reducers(first, second, prefix, shared):
    split = 0 if shared else first.inputs
    inputs = max(first.inputs, second.inputs) if shared else first.inputs + second.inputs
    names = first.outputs + [prefix + name for name in second.outputs]
    if len(set(names)) < len(names):
        raise EEError(f'Reducer.combine: Output names must be unique: {", ".join(names)}.')

    def rows(columns):
        return (first.rows(columns[:first.inputs])
                + second.rows(columns[split:split + second.inputs]))
    both_stack = first.stack and second.stack and shared
    return Reducer(inputs, names, rows, both_stack and (
        lambda stack: first.stack(stack) + second.stack(stack)))


@algorithm('Reducer.repeat')
def repeat(reducer, count):
    count = int(count)

    def rows(columns):
        results = [reducer.rows(columns[n * reducer.inputs:(n + 1) * reducer.inputs])
                   for n in range(count)]
        return [list(values) for values in zip(*results)]
    return Reducer(reducer.inputs * count, reducer.outputs, rows)


@algorithm('Reducer.forEach')
def for_each(reducer, names):
    many = repeat(reducer, len(names))

    def rows(columns):
        return [value for values in zip(*many.rows(columns)) for value in values]
    outputs = names if len(reducer.outputs) == 1 else [
        f'{name}_{output}' for name in names for output in reducer.outputs]
    return Reducer(many.inputs, outputs, rows)


@algorithm('Reducer.group')
def group(reducer, field, name):
    """'groups': a dictionary for each value of an input."""
    field = int(field)

    def rows(columns):
        columns = [np.asarray(column) for column in columns]
        keys = columns.pop(field)
        return [[{name: tidy(key), **dict(zip(reducer.outputs, reducer.rows(
            [column[keys == key] for column in columns])))} for key in np.unique(keys)]]
    return Reducer(reducer.inputs + 1, ['groups'], rows)


@algorithm('Reducer.setOutputs')
def set_outputs(reducer, names):
    if len(names) != len(reducer.outputs):
        raise EEError(f'Reducer.setOutputs: Expected {len(reducer.outputs)} names.')
    return reducer._replace(outputs=names)


algorithm('Reducer.unweighted')(lambda reducer: reducer)
algorithm('Reducer.forEachBand')(
    lambda reducer, image: for_each(reducer, [band.name for band in image.bands]))
algorithm('Reducer.getOutputs')(lambda reducer: reducer.outputs)


# ---------------------------------------------------------------- regions

@functools.lru_cache(maxsize=2000)
def region_pixels(geometry, projection):
    """The Pixels of a grid whose centres are in a geometry (of points: that they are in)."""
    shape = geometry.to(projection)
    cols, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for part in shapely.get_parts(shape):
        if shapely.get_dimensions(part) < 2:
            points = shapely.get_coordinates(shapely.segmentize(part, .5))
            cells = np.unique(np.floor(points).astype(np.int64), axis=0)
            cols.append(cells[:, 0])
            rows.append(cells[:, 1])
            continue
        west, top, east, bottom = part.bounds
        col, width = math.floor(west), math.ceil(east) - math.floor(west)
        step = max(1, BLOCK // max(width, 1))
        for row in range(math.floor(top), math.ceil(bottom), step):
            found = np.nonzero(burn(part, col, row, min(step, math.ceil(bottom) - row), width))
            cols.append(found[1] + col)
            rows.append(found[0] + row)
    return Pixels(projection, np.concatenate(cols) + .5, np.concatenate(rows) + .5)


def checked_pixels(name, image, geometry, projection, best_effort, limit):
    """region_pixels() if they aren't too many."""
    geometry = geometry or image.geometry
    if geometry is None:
        raise EEError(f'{name}: The geometry of an unbounded image must be specified.')
    count = count_pixels(geometry, projection)
    if count > limit:
        if not best_effort:
            raise EEError(f'{name}: Too many pixels in the region. Found {count}, but maxPixels '
                          f'allows only {int(limit)}.\nEnsure that you are not aggregating at a '
                          'higher resolution than you intended; that is the most frequent cause of '
                          "this error. If not, then you may set the 'maxPixels' argument to a "
                          "limit suitable for your computation; set 'bestEffort' to true to "
                          "aggregate at whatever scale results in 'maxPixels' total pixels; or "
                          'both.')
        while count_pixels(geometry, projection) > limit:
            projection = projection.at_scale(projection.scale() * 2)
    return region_pixels(geometry, projection)


def kinds_of(values):
    """np.unique() of integers, faster where they are not far apart."""
    if values.size == 0 or np.ptp(values) > 10000:
        return np.unique(values)
    return np.flatnonzero(np.bincount(values - values.min())) + values.min()


@functools.lru_cache(maxsize=2000)
def count_pixels(geometry, projection):
    return math.ceil(geometry.to(projection).area)


def column(band, pixels):
    """The values of a band and where they are valid, as long as the pixels are many."""
    values, mask = band.at(pixels)
    if band.type.precision == 'int' and values.dtype.kind == 'f':
        values = values.astype(np.int64)
    if values.shape != pixels.shape:
        values = np.broadcast_to(values, pixels.shape)
    if mask is not None and mask.shape != pixels.shape:
        mask = np.broadcast_to(mask, pixels.shape)
    return values, mask


def reduce_pixels(name, image, reducer, pixels):
    """{name: result}: those of a reducer with one output are called like the bands."""
    if reducer.inputs != 1:
        if reducer.inputs != len(image.bands):
            raise EEError(f'{name}: The reducer wants {reducer.inputs} inputs, but the image has '
                          f'{len(image.bands)} bands.')
        pairs = [column(band, pixels) for band in image.bands]
        mask = functools.reduce(both, [mask for _, mask in pairs])
        columns = [values if mask is None else values[mask] for values, _ in pairs]
        return dict(zip(reducer.outputs, reducer.rows(columns)))
    result = {}
    for band in image.bands:
        values, mask = column(band, pixels)
        outputs = reducer.rows([values if mask is None else values[mask]])
        if len(outputs) == 1:
            result[band.name] = outputs[0]
        else:
            result |= {f'{band.name}_{output}': value
                       for output, value in zip(reducer.outputs, outputs)}
    return result


@algorithm('Image.reduceRegion')
def reduce_region(image, reducer, geometry, scale, crs, transform, best_effort, limit, tile_scale):
    if not image.bands:
        raise EEError('Image.reduceRegion: Image has no bands.')
    projection = working_projection(image, crs, transform, scale)
    pixels = checked_pixels('Image.reduceRegion', image, geometry, projection, best_effort, limit)
    return reduce_pixels('Image.reduceRegion', image, reducer, pixels)


@algorithm('Image.reduceRegions')
def reduce_regions(image, collection, reducer, scale, crs, transform, tile_scale, limit):
    """The features with results as properties; for one band they are called like the outputs."""
    projection = working_projection(image, crs, transform, scale)

    def reduce(feature):
        pixels = checked_pixels('Image.reduceRegions', image, feature.geometry, projection, False,
                                limit or 1e12)
        results = reduce_pixels('Image.reduceRegions', image, reducer, pixels)
        if len(image.bands) == 1 and reducer.inputs == 1:
            results = dict(zip(reducer.outputs, results.values()))
        return feature.set(results)
    return collection.then(lambda elements: [reduce(feature) for feature in elements])


def blocks(geometry, projection):
    """Blocks of rows of the grid around a geometry: (Pixels, where they are inside)."""
    shape = geometry.to(projection)
    west, top, east, bottom = shape.bounds
    col, width = math.floor(west), max(1, math.ceil(east) - math.floor(west))
    last = max(math.ceil(bottom), math.floor(top) + 1)
    step = max(1, BLOCK // width)
    for row in range(math.floor(top), last, step):
        pixels = grid_of_pixels(projection, col, row, width, min(step, last - row))
        yield pixels, burn(shape, col, row, *pixels.shape)


def draw(image, class_band, region, projection, seed, wanted):
    """{class: (k, 2) array of columns and rows} of up to wanted(class) random pixels each, where
    no band is masked. Each pixel gets a random number, and the lowest of a class win."""
    dice = np.random.default_rng(int(seed))
    chosen = {}  # class: (numbers, places)
    for pixels, valid in blocks(region, projection):
        values, mask = column(class_band, pixels)
        for band in image.bands:
            valid = both(valid, np.broadcast_to(True if (part := band.at(pixels)[1]) is None
                                                else part, pixels.shape))
        values = values[valid].astype(np.int64)
        cells = np.flatnonzero(valid)
        for kind in kinds_of(values):
            places = cells[values == kind]
            numbers = dice.random(places.size)
            count = wanted(int(kind))
            best = np.argpartition(numbers, count)[:count] if count < numbers.size else slice(None)
            row, col = np.divmod(places[best], pixels.shape[1])
            places = np.stack([col + pixels.x.flat[0], row + pixels.y.flat[0]], axis=1)
            old = chosen.get(int(kind), (np.zeros(0), np.zeros((0, 2))))
            numbers = np.concatenate([old[0], numbers[best]])
            order = np.argsort(numbers)[:count]
            chosen[int(kind)] = numbers[order], np.concatenate([old[1], places])[order]
    return {kind: chosen[kind][1] for kind in sorted(chosen)}


def features_at(image, projection, places, geometries, properties=None):
    """A feature for each pixel, with the values of the bands."""
    pixels = Pixels(projection, places[:, 0].copy(), places[:, 1].copy())
    columns = [column(band, pixels) for band in image.bands]
    lon, lat = (part.tolist() for part in np.broadcast_arrays(*pixels.coordinates(WGS84)))
    names = [band.name for band in image.bands]
    lists = [(values.tolist(), None if mask is None else mask.tolist()) for values, mask in columns]
    return [Feature(Geometry(shapely.Point(lon[n], lat[n])) if geometries else None,
                    {**(properties or {}), **{
                        name: values[n] for name, (values, mask) in zip(names, lists)
                        if mask is None or mask[n]}}) for n in range(len(places))]


def numbered(features):
    return collect([feature.replace(index=str(number))
                    for number, feature in enumerate(features)], False)


@algorithm('Image.stratifiedSample')
def stratified_sample(image, points, class_band, region, scale, projection, seed, class_values,
                      class_points, drop_nulls, tile_scale, geometries):
    band = find_bands('Image.stratifiedSample', image, [class_band])[0] if class_band else (
        image.bands[0])
    if band.type.precision != 'int':
        raise EEError(f"Image.stratifiedSample: Class band '{band.name}' must be an integer.")
    special = dict(zip(class_values or [], class_points or []))
    projection = working_projection(image, projection, None, scale)
    region = region or image.geometry
    found = draw(image if drop_nulls else image.replace(bands=[band]), band, region, projection,
                 seed, lambda kind: int(special.get(kind, points)))
    return numbered(feature for places in found.values() for feature in features_at(
        image, projection, places, geometries))


@algorithm('Image.sample')
def sample_image(image, region, scale, projection, factor, count, seed, drop_nulls, tile_scale,
                 geometries):
    """numPixels or a share of the pixels, or all of them."""
    projection = working_projection(image, projection, None, scale)
    region = region or image.geometry
    limit = count or math.ceil((factor or 1) * count_pixels(region, projection))
    zero = constant_image(0).bands[0]
    found = draw(image if drop_nulls else image.replace(bands=[]), zero, region, projection, seed,
                 lambda kind: int(limit))
    return numbered(features_at(image, projection, found.get(0, np.zeros((0, 2))), geometries))


@algorithm('Image.sampleRegions')
def sample_regions(image, collection, properties, scale, projection, tile_scale, geometries):
    """All pixels in each feature, without those where a band is masked."""
    projection = working_projection(image, projection, None, scale)
    features = []
    for feature in collection.elements():
        kept = feature.properties if properties is None else {
            name: feature.get(name) for name in properties if feature.get(name) is not None}
        pixels = region_pixels(feature.geometry, projection)
        for number, row in enumerate(features_at(
                image, projection, np.stack([pixels.x, pixels.y], axis=1), geometries, kept)):
            if all(band.name in row.properties for band in image.bands):
                features.append(row.replace(index=f'{feature.index}_{number}'))
    return collect(features, False)


@algorithm('ImageCollection.getRegion')
def get_region(collection, geometry, scale, crs, transform):
    """A table: id, longitude, latitude, time and bands of each pixel of each image."""
    images = collection.elements()
    if not images:
        raise EEError('ImageCollection.getRegion: No images in collection.')
    projection = working_projection(images[0], crs, transform, scale)
    pixels = region_pixels(geometry, projection)
    names = [band.name for band in images[0].bands]
    if len(images) * pixels.x.size * (4 + len(names)) > 1048576:
        raise EEError(f'ImageCollection.getRegion: Too many values: {len(images)} images x '
                      f'{pixels.x.size} pixels x {len(names)} bands > 1048576.')
    lon, lat = (part.tolist() for part in pixels.coordinates(WGS84))
    table = [['id', 'longitude', 'latitude', 'time', *names]]
    for image in images:
        rows = features_at(image, projection, np.stack([pixels.x, pixels.y], axis=1), False)
        table += [[image.index, x, y, image.get('system:time_start'),
                   *(row.get(name) for name in names)] for x, y, row in zip(lon, lat, rows)]
    return table


# ---------------------------------------------------------------- stacks of images

def same_bands(name, images):
    """The images, if they have the same bands."""
    refuse_work(len(images))
    first = [band.name for band in images[0].bands] if images else []
    for image in images:
        names = [band.name for band in image.bands]
        if names != first:
            raise EEError(
                'Expected a homogeneous image collection, but an image with incompatible bands was '
                f'encountered. First image type: {len(first)} bands ([{", ".join(first)}]). '
                f'Current image type: {len(names)} bands ([{", ".join(names)}]). '
                'Some bands might require explicit casts.')
    return images


def composite(images, sample):
    """An image with the bands of others, in degrees: composites have no grid of their own."""
    if not images:
        return Image([])
    return Image([Band(band.name, functools.reduce(functools.partial(result_type, 'max'), {
        image.bands[number].type for image in images}), WGS84, functools.partial(sample, number))
        for number, band in enumerate(images[0].bands)])


@algorithm('ImageCollection.mosaic')
def mosaic(collection):
    """The last image on top, as Earth Engine's page on ee.ImageCollection.mosaic says."""
    images = same_bands('ImageCollection.mosaic', collection.elements())

    def sample(number, pixels):
        total, covered = np.zeros((), np.int64), np.zeros((), bool)
        for image in reversed(images):
            values, mask = image.bands[number].at(pixels)
            if mask is None:
                return (np.where(covered, total, values), None) if covered.any() else (values, None)
            if mask.any():
                total = np.where(covered, total, values) if covered.any() else values
                covered = covered | mask
            if covered.all():
                return total, None
        return total, covered
    return composite(images, sample)


@algorithm('ImageCollection.qualityMosaic')
def quality_mosaic(collection, name):
    """All bands of the image in which one band is highest."""
    images = same_bands('ImageCollection.qualityMosaic', collection.elements())

    def sample(number, pixels):
        quality = stack_of([find_bands('ImageCollection.qualityMosaic', image, [name])[0]
                            for image in images], pixels)
        best = np.argmax(np.where(np.isnan(quality), -np.inf, quality), axis=0)
        values = np.take_along_axis(stack_of([image.bands[number] for image in images], pixels),
                                    best[None], axis=0)[0]
        return np.nan_to_num(values), ~np.isnan(values)
    return composite(images, sample)


def stack_of(bands, pixels):
    """An array (bands, rows, columns) with NaN where they are masked."""
    stack = np.full((len(bands), *pixels.shape), np.nan)
    for layer, band in zip(stack, bands):
        values, mask = band.at(pixels)
        layer[...] = values if mask is None else np.where(mask, values, np.nan)
    return stack


def reduce_stack(images, reducer, name_of):
    """An image of the outputs of a reducer of each band of some images."""
    images = same_bands('ImageCollection.reduce', images)
    if reducer.inputs != 1 or not reducer.stack:
        raise EEError('ImageCollection.reduce: The stand-in knows reducers of one input only.')

    def band(number, base, part, output):
        def sample(pixels):
            layers = stack_of([image.bands[number] for image in images], pixels)
            values = reducer.stack(layers)[part]
            return np.nan_to_num(values), None if values.dtype.kind in 'ib' else ~np.isnan(values)
        keeps = output in ('min', 'max', 'first', 'last', 'mode')
        kind = base.type if keeps else INT32 if output == 'count' else DOUBLE
        return Band(name_of(base.name, output), kind, WGS84, sample)
    return Image([band(number, base, part, output)
                  for number, base in enumerate(images[0].bands if images else [])
                  for part, output in enumerate(reducer.outputs)])


@algorithm('ImageCollection.reduce')
def reduce_collection(collection, reducer, _):
    return reduce_stack(collection.elements(), reducer, lambda band, output: f'{band}_{output}')


for _name in 'min', 'max', 'count', 'sum', 'product', 'mean', 'and', 'or', 'median', 'mode':
    algorithm(f'reduce.{_name}')(lambda collection, make=make_statistic(_name): reduce_stack(
        collection.elements(), make(), lambda band, output: band))


@algorithm('Image.reduce')
def reduce_bands(image, reducer):
    """Over the bands of each pixel; the new bands are called like the outputs."""
    if reducer.inputs != 1 or not reducer.stack:
        raise EEError('Image.reduce: The stand-in knows reducers of one input only.')
    singles = [Image([band.but(name='')]) for band in image.bands]
    reduced = reduce_stack(singles, reducer, lambda band, output: output)
    return image.computed([band.but(projection=image.projection()) for band in reduced.bands])


@algorithm('ImageCollection.toBands')
def to_bands(collection):
    return Image([band.but(name=f'{image.index}_{band.name}')
                  for image in collection.elements() for band in image.bands])


@algorithm('ImageCollection.combine')
def combine_collections(primary, secondary, overwrite):
    others = {image.index: image for image in secondary.elements()}
    return primary.then(lambda images: [
        add_bands(image, others[image.index], None, overwrite) for image in images
        if image.index in others])


# ---------------------------------------------------------------- what images know of themselves

def metadata(image, name, new_name):
    value = comparable(image.get(name))
    if not isinstance(value, (int, float)):
        raise EEError(f"Image.metadata: Property '{name}' is missing or no number.")
    return rename(constant_image(value), [new_name or name])


for _name, _function in {
        'Image.constant': lambda value: (
            value if isinstance(value, Image) else constant_image(value)),
        'Image.bandNames': lambda image: [band.name for band in image.bands],
        'Image.bandTypes': lambda image: {band.name: band.type for band in image.bands},
        'Image.date': lambda image: Date(image_time(image)),
        'Image.metadata': metadata,
        'Image.slice': lambda image, start, end: image.replace(
            bands=image.bands[int(start):None if end is None else int(end)]),
        'Image.clamp': lambda image, low, high: image_unary(
            lambda values: np.clip(values, low, high), lambda kind: kind)(image),
        'Image.unitScale': lambda image, low, high: image_unary(
            lambda values: (values - low) / (high - low), lambda kind: DOUBLE)(image),
        'Image.cast': lambda image, kinds, order: image.replace(bands=[
            image_unary(functools.partial(clamp_to, kind), lambda _: pixel_type(kind))(
                image.replace(bands=[band])).bands[0] if (kind := CASTS_TO.get(
                    kinds.get(band.name))) else band for band in image.bands]),
        'ImageCollection.fromImages': lambda images: collect(
            as_collection(images).elements(), True),
        }.items():
    algorithm(_name)(_function)


def image_time(image):
    time = image.get('system:time_start')
    if time is None:
        raise EEError("Date: Parameter 'value' is required.")
    return int(time)
