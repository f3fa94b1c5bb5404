"""The algorithms that make images and change their bands, pixel by pixel."""
import ast
import functools
import math
import re

import numpy as np
import rasterio.features
import shapely
from PIL import ImageColor

import datasets
from algorithms import BINARY, KINDS, UNARY, WHOLE, clamp_to, not_found
from values import (ALGORITHMS, BOOLEAN, BYTE, DOUBLE, FLOAT, INT32, WGS84, Band, Collection, Date,
                    EEError, Geometry, Image, PixelType, Projection, algorithm, as_collection,
                    as_geometry, as_image, collect, constant_image, forward, pixel_type, rectangle,
                    refuse_long)


# ---------------------------------------------------------------- loading

class LeafBand(Band):
    """A band of a dataset: it outlives a request, so it remembers nothing."""

    def at(self, pixels):
        return self.sample(pixels)


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


@algorithm('ImageCollection.load')
def load_collection(name):
    dataset = datasets.IMAGES.get(name)
    if not dataset or dataset.kind == 'Image':
        raise not_found('ImageCollection', name)

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
def load_image(name):
    """A dataset of one image, or an image of a collection that can be listed."""
    parent, _, index = name.rpartition('/')
    dataset = datasets.IMAGES.get(name) or datasets.IMAGES.get(parent)
    try:
        for scene in dataset.find(None, None, None) if dataset else []:
            if name in datasets.IMAGES or scene.index == index:
                return scene_image(scene, name)
    except datasets.TooMany:
        pass
    raise not_found('Image', name)


# ---------------------------------------------------------------- bands

def both(first, second):
    """The mask of what is valid in two."""
    return second if first is None else first if second is None else first & second


def wide(values):
    """The same in 64 bits, so that sums of bytes have room."""
    if values.dtype.itemsize == 8:
        return values
    return values.astype('float64' if values.dtype.kind == 'f' else 'int64')


def each(function, *images):
    """Calls a function of bands for each band of some images; an only band goes with all."""
    counts = {len(image.bands) for image in images}
    if len(counts - {1}) > 1:
        raise EEError(': Images must have the same number of bands, or one of them a single one. '
                      f'Got {" and ".join(str(len(image.bands)) for image in images)}.')
    number = max(counts - {1}, default=1)
    return [function(*bands) for bands in zip(*(
        image.bands * number if len(image.bands) == 1 else image.bands for image in images))]


def pointwise(function, kind, *bands):
    """The first band with other values: a function of those of some, valid where all are."""
    def sample(pixels):
        values, masks = zip(*(band.at(pixels) for band in bands))
        result = np.asarray(function(*map(wide, values)))
        return (result.astype(np.float32) if kind == FLOAT else result,
                functools.reduce(both, masks))
    return bands[0].but(sample, type_=kind)


def result_type(name, left, right):
    """The PixelType of an operation on two."""
    if name in ('lt', 'lte', 'gt', 'gte', 'eq', 'neq', 'and', 'or'):
        return BOOLEAN
    if 'double' in (left.precision, right.precision) or name in ('atan2', 'hypot', 'pow'):
        return DOUBLE
    if 'float' in (left.precision, right.precision) or name == 'divide':
        return FLOAT if max(left.dtype().itemsize, right.dtype().itemsize) <= 4 else DOUBLE
    if name in ('add', 'subtract', 'multiply'):
        ends = [int(BINARY[name](a, b)) for a in left[1:] for b in right[1:]]
        return PixelType('int', min(ends), max(ends))
    return PixelType('int', min(left.low, right.low), max(left.high, right.high))


def image_binary(name):
    """An algorithm on pairs of bands."""
    def combine(left, right):
        return pointwise(BINARY[name], result_type(name, left.type, right.type), left, right)

    def compute(left, right):
        bands = each(combine, left, right)
        longer = left if len(left.bands) >= len(right.bands) else right
        return left.computed([band.but(name=label) for band, label in zip(bands, longer.names())])
    return compute


def image_unary(function, kind=None):
    """An algorithm on each band; without a kind they keep their type."""
    return lambda image: image.replace(bands=each(
        lambda band: pointwise(function, kind or band.type, band), image))


ALGORITHMS |= {
    **{f'Image.{name}': image_binary(name) for name in BINARY},
    **{f'Image.{name}': image_unary(function, BOOLEAN if name == 'not' else None if name in WHOLE
                                    else DOUBLE) for name, function in UNARY.items()},
    **{f'Image.{name}': image_unary(functools.partial(clamp_to, kind), pixel_type(kind))
       for name, kind in KINDS.items()},
    'Image.clamp': lambda image, low, high: image_unary(
        lambda values: np.clip(values, low, high))(image),
    'Image.constant': as_image,
    'Image.bandNames': Image.names,
    'Image.date': lambda image: Date(image.get('system:time_start')),
    'ImageCollection.fromImages': lambda images: collect(as_collection(images).elements(), True),
}


def find_bands(image, selectors):
    """The bands that selectors mean: names, regular expressions or numbers."""
    bands = []
    for selector in selectors:
        if isinstance(selector, (int, float)):
            chosen = image.bands[int(selector):][:1]
        else:
            chosen = [band for band in image.bands if band.name == selector] or [
                band for band in image.bands if re.fullmatch(selector, band.name)]
        if not chosen:
            raise EEError(f": Band pattern '{selector}' did not match any bands. "
                          f'Available bands: [{", ".join(image.names())}]')
        bands += chosen
    return bands


@algorithm('Image.rename')
def rename(image, names):
    if len(names) != len(image.bands):
        raise EEError(f': The number of names ({len(names)}) must match the number of bands '
                      f'({len(image.bands)}).')
    return image.replace(bands=[band.but(name=name) for band, name in zip(image.bands, names)])


@algorithm('Image.select')
def select(image, selectors, names=None):
    chosen = image.replace(bands=find_bands(image, selectors))
    return chosen if names is None else rename(chosen, names)


@algorithm('Image.addBands')
def add_bands(image, other, names=None, overwrite=False):
    """A name that is taken gets _1, _2 and so on, unless it overwrites."""
    bands = {band.name: band for band in image.bands}
    for band in find_bands(other, names) if names else other.bands:
        name, number = band.name, 0
        while name in bands and not overwrite:
            number += 1
            name = f'{band.name}_{number}'
        bands[name] = band.but(name=name)
    return image.replace(bands=list(bands.values()))


ALGORITHMS['Image.cat'] = lambda images: functools.reduce(add_bands, map(as_image, images))


def masked(keep):
    """An algorithm that shows an image where another is not 0; of its own mask too if keep."""
    def cut(band, test):
        def sample(pixels):
            values, mask = band.at(pixels)
            passed, valid = test.at(pixels)
            return values, both(both(passed != 0, valid), mask if keep else None)
        return band.but(sample)
    return lambda image, test: image.replace(bands=each(cut, image, test))


update_mask = algorithm('Image.updateMask')(masked(True))
ALGORITHMS['Image.selfMask'] = lambda image: update_mask(image, image)


@algorithm('Image.mask')
def mask_of(image, test):
    """With one argument the mask itself."""
    def of_band(band):
        def sample(pixels):
            mask = band.at(pixels)[1]
            return np.asarray(1 if mask is None else mask), None
        return band.but(sample, type_=BOOLEAN)
    return masked(False)(image, test) if test else image.computed(each(of_band, image))


@algorithm('Image.unmask')
def unmask(image, value):
    def fill(band, filler):
        def sample(pixels):
            values, mask = band.at(pixels)
            if mask is None:
                return values, None
            other, valid = filler.at(pixels)
            return np.where(mask, values, other), None if valid is None else mask | valid
        return band.but(sample, type_=result_type('max', band.type, filler.type))
    return image.replace(bands=each(fill, image, constant_image(0) if value is None else value))


@algorithm('Image.where')
def where(image, test, value):
    def choose(band, test, value):
        def sample(pixels):
            values, mask = band.at(pixels)
            passed, valid = test.at(pixels)
            other, given = value.at(pixels)
            return np.where(both(passed != 0, both(valid, given)), other, values), mask
        return band.but(sample, type_=result_type('max', band.type, value.type))
    return image.replace(bands=each(choose, image, test, value))


@algorithm('Image.remap')
def remap(image, old, new, default, name):
    """Values that are not listed are masked, unless there is a default."""
    band = find_bands(image, [name or 0])[0]
    order = np.argsort(old)
    old, new = np.asarray(old)[order], np.asarray(new)[order]

    def sample(pixels):
        values, mask = band.at(pixels)
        places = np.clip(np.searchsorted(old, values), 0, len(old) - 1)
        known = old[places] == values
        if default is not None:
            return np.where(known, new[places], default), mask
        return new[places], both(known, mask)
    return image.replace(bands=[
        band.but(sample, 'remapped', INT32 if new.dtype.kind == 'i' else DOUBLE)])


@algorithm('Image.normalizedDifference')
def normalized_difference(image, names):
    """(first - second) / (first + second), masked where either is negative or the sum is 0."""
    first, second = find_bands(image, names or [0, 1])
    fine = pointwise(lambda a, b: (a >= 0) & (b >= 0) & (a + b != 0), BOOLEAN, first, second)
    ratio = pointwise(lambda a, b: (a - b) / np.where(a + b, a + b, 1), FLOAT, first, second)
    return update_mask(image.computed([ratio.but(name='nd')]), Image([fine]))


OPERATORS = {
    ast.Add: 'add', ast.Sub: 'subtract', ast.Mult: 'multiply', ast.Div: 'divide', ast.Mod: 'mod',
    ast.Pow: 'pow', ast.Lt: 'lt', ast.LtE: 'lte', ast.Gt: 'gt', ast.GtE: 'gte', ast.Eq: 'eq',
    ast.NotEq: 'neq', ast.BitAnd: 'and', ast.BitOr: 'or'}


@algorithm('Image.parseExpression')
def parse_expression(text, argument, names):
    """A function of images, from a text such as '(b("B8") - x) / (b(0) + x.B4)'."""
    def visit(node, given):
        def call(name, *operands):
            return ALGORITHMS[f'Image.{name}'](*(visit(operand, given) for operand in operands))
        match node:
            case ast.Constant():
                return constant_image(node.value)
            case ast.Name():
                return given[node.id]
            case ast.Attribute():
                return select(visit(node.value, given), [node.attr])
            case ast.Subscript():
                return select(visit(node.value, given), [node.slice.value])
            case ast.UnaryOp(op=ast.USub()):
                return call('subtract', ast.Constant(0), node.operand)
            case ast.BinOp():
                return call(OPERATORS[type(node.op)], node.left, node.right)
            case ast.Compare(ops=[operation]):
                return call(OPERATORS[type(operation)], node.left, *node.comparators)
            case ast.Call(func=ast.Name(id='b')):
                return select(given[argument], [part.value for part in node.args])
            case ast.Call(func=ast.Name()):
                return call(node.func.id, *node.args)
        raise EEError(f': The stand-in knows no {type(node).__name__}.')

    def function(*images):
        return visit(body, dict(zip(names, images)))
    body = ast.parse(text.replace('&&', ' & ').replace('||', ' | ').strip(), mode='eval').body
    function.names = names
    return function


# ---------------------------------------------------------------- places of images

@algorithm('Image.projection')
def projection_of(image):
    if len({band.projection for band in image.bands}) > 1:
        raise EEError(': The bands of the specified image contains different projections. Use '
                      'Image.select to pick a single band.')
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
            if pixels.projection == projection and pixels.is_grid:
                return band.at(pixels)
            return band.at(pixels.snapped(projection))
        return band.but(sample, projection=projection)
    return image.replace(bands=each(snap, image), grid=None)


def inside(geometry, pixels):
    """Where the centres of pixels are in a geometry."""
    return pixels.remember(geometry, lambda: find_inside(geometry, pixels))


def find_inside(geometry, pixels):
    if pixels.is_grid:
        return burn(geometry.to(pixels.projection), pixels.x.flat[0] - .5, pixels.y.flat[0] - .5,
                    *pixels.shape)
    x, y = pixels.coordinates(geometry.projection)
    shapely.prepare(geometry.shape)
    return shapely.contains_xy(geometry.shape, x, y)


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
    return image.replace(bands=each(cut, image), geometry=geometry, grid=None)


ALGORITHMS['Image.clipToCollection'] = clip


def bounds_of(image):
    """West, top, east, bottom in pixels of an image's projection, with north on top, and that."""
    if image.geometry is None:
        raise EEError('Image: Unable to compute the bounds of an unbounded image; give a region.')
    if image.geometry.shape.is_empty:
        raise EEError('Image: The region is empty.')
    projection = image.projection()
    a, b, c, d, e, f = projection.transform
    if e > 0 and not b and not d:
        projection = projection._replace(transform=(a, b, c, d, -e, f))
    return *image.geometry.to(projection).bounds, projection


def grid_of(image):
    """(Projection, col, row, width, height) of the picture of an image."""
    if image.grid:
        return image.grid
    west, top, east, bottom, projection = bounds_of(image)
    col, row = math.floor(west + 1e-6), math.floor(top + 1e-6)
    return projection, col, row, math.ceil(east - 1e-6) - col, math.ceil(bottom - 1e-6) - row


@algorithm('Image.clipToBoundsAndScale')
def clip_to_bounds_and_scale(image, geometry, width, height, largest, scale):
    """Cuts an image to the box of a geometry, in its own projection, in so many pixels."""
    image = image.replace(geometry=geometry or image.geometry, grid=None)
    if scale:  # on the grid from the origin of the projection
        projection = image.projection().at_scale(scale)
        image = image.replace(bands=[band.but(projection=projection) for band in image.bands])
    if scale or not (width or height or largest):
        return cut_to_grid(image, grid_of(image))
    west, top, east, bottom, projection = bounds_of(image)
    across, down = east - west, bottom - top
    if largest:
        width, height = (largest * side / max(across, down) for side in (across, down))
    width = max(1, round(width or height * across / down))
    height = max(1, round(height or width * down / across))
    a, b, _, d, e, _ = projection.transform
    x, y = forward(projection.transform, west, top)
    across, down = across / width, down / height
    return cut_to_grid(image, (Projection(projection.crs, (
        a * across, b * down, x, d * across, e * down, y)), 0, 0, width, height))


def cut_to_grid(image, grid):
    """The image in the rectangle of a grid, which becomes its projection."""
    projection, col, row, width, height = grid
    frame = Geometry(rectangle(col, row, col + width, row + height), projection)

    def cut(band):
        def sample(pixels):
            values, mask = band.at(pixels)
            if pixels.projection == projection and pixels.is_grid and (
                    col < pixels.x.min() and pixels.x.max() < col + width
                    and row < pixels.y.min() and pixels.y.max() < row + height):
                return values, mask
            return values, both(mask, inside(frame, pixels))
        return band.but(sample, projection=projection)
    return image.replace(bands=each(cut, image), geometry=frame, grid=grid)


@algorithm('Image.pixelLonLat')
def pixel_lon_lat():
    def sample(axis, pixels):
        return np.broadcast_to(pixels.coordinates(WGS84)[axis], pixels.shape), None
    return Image([Band(name, DOUBLE, WGS84, functools.partial(sample, axis))
                  for axis, name in enumerate(('longitude', 'latitude'))])


@algorithm('Image.paint')
def paint(image, collection, color):
    """Fills the geometries with a number, or with that of a property."""
    shapes = [(feature.geometry, feature.get(color) if isinstance(color, str) else color)
              for feature in collection.elements()]
    shapes = [(geometry, number) for geometry, number in shapes if geometry and number is not None]

    def cover(band):
        def sample(pixels):
            values, mask = band.at(pixels)
            values = np.array(np.broadcast_to(values, pixels.shape))
            for geometry, number in shapes:
                values[find_inside(geometry, pixels)] = number
            return values, mask
        numbers = [int(number) for _, number in shapes] or [0]
        kind = result_type('max', band.type, PixelType('int', min(numbers), max(numbers)))
        return band.but(sample, type_=kind)
    return image.replace(bands=each(cover, image))


# ---------------------------------------------------------------- pictures

def three(value):
    """A number, list or text such as '0, 255' as a list of three numbers."""
    if isinstance(value, str):
        value = [float(part) for part in value.split(',')]
    values = value if isinstance(value, list) else [value]
    return values * 3 if len(values) == 1 else values


def stretched(band, low, high, gamma):
    """The band in bytes: 0 for low, 255 for high."""
    if band.type == BYTE and (low in (0, None), high in (255, None), gamma) == (True, True, None):
        return band
    if low is None:
        low = band.type.low or 0
    if high is None:
        high = 1 if band.type.high is None else band.type.high
    return pointwise(lambda values: np.floor(
        255 * np.clip((values - low) / (high - low), 0, 1) ** (1 / (gamma or 1)) + .5), BYTE, band)


def painted(band, channel):
    """A band of bytes in one channel of a palette, whose colours lie from 0 to 255."""
    return pointwise(lambda values: np.rint(np.interp(
        values, np.linspace(0, 255, len(channel)), channel)), BYTE, band)


@algorithm('Image.visualize')
def visualize(image, bands, gain, bias, low, high, gamma, opacity, palette, force_rgb):
    """Bytes vis-red, vis-green and vis-blue, or vis-gray, of 1 or 3 bands."""
    if gain is not None or bias is not None or opacity not in (None, 1):
        raise EEError(': The stand-in knows no gain, bias and opacity.')
    names = bands.replace(' ', '').split(',') if isinstance(bands, str) else bands
    chosen = find_bands(image, names) if names else image.bands[:3]
    if len(chosen) not in (1, 3) or palette and len(chosen) == 3:
        raise EEError(f': Expected 1 or 3 bands, and 1 with a palette, got {len(chosen)}.')
    layers = [stretched(*layer) for layer in zip(chosen, three(low), three(high), three(gamma))]
    if palette:
        colors = [part.strip() for part in (
            palette.split(',') if isinstance(palette, str) else palette)]
        colors = [ImageColor.getrgb(f'#{color}' if re.fullmatch('[0-9A-Fa-f]{6}', color) else color)
                  for color in colors]
        layers = [painted(layers[0], channel) for channel in np.array(colors).T]
    if force_rgb and len(layers) == 1:
        layers = layers * 3
    names = ['vis-gray'] if len(layers) == 1 else ['vis-red', 'vis-green', 'vis-blue']
    return image.replace(bands=[layer.but(name=name, type_=BYTE)
                                for layer, name in zip(layers, names)])
