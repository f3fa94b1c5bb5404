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
from sentences import say, say_of_caller
from values import (ALGORITHMS, BEHAVIOUR, BOOLEAN, BYTE, DOUBLE, FLOAT, INT32, WGS84, Band,
                    Collection, Date, EEError, Geometry, Image, Pixels, PixelType, Projection,
                    algorithm, as_collection, as_date, as_geometry, as_image, collect,
                    constant_image, forward, pixel_type, rectangle, refuse_long)


# ---------------------------------------------------------------- loading

class LeafBand(Band):
    """A band of a dataset: it outlives a request, so it remembers nothing."""

    def at(self, pixels):
        return self.sample(pixels)


@functools.lru_cache(maxsize=20000)
def footprint_of(shape):
    """The Geometry of a footprint, one for all images that share it."""
    return Geometry(shape)


@functools.lru_cache(maxsize=20000)
def scene_image(scene, asset):
    """The Image of a datasets.Scene."""
    def band(name, kind, grid):
        projection = Projection(grid.crs, grid.transform)

        def sample(pixels):
            place = pixels.place(projection)
            inside = pixels.remember((projection, grid), lambda: (
                (place.col >= 0) & (place.col < grid.width)
                & (place.row >= 0) & (place.row < grid.height)))
            if not inside.any():
                return np.zeros((), np.int64), inside
            values, mask = scene.value(name, place)
            return values, mask & inside
        return LeafBand(name, pixel_type(kind), projection, sample)
    times = {'system:time_start': scene.start, 'system:time_end': scene.end}
    return Image([band(name, *rest) for name, rest in scene.bands.items()],
                 {**scene.properties, **times},
                 footprint_of(scene.footprint), scene.index, asset)


@algorithm('ImageCollection.load')
def load_collection(name):
    """A dataset; the box and times of filters save it from listing all."""
    dataset = datasets.IMAGES.get(name)
    if not dataset or dataset.single:
        raise not_found('ImageCollection', name)

    def load(hints):
        start = max((hint.start for hint in hints if hint.start is not None), default=None)
        end = min((hint.end for hint in hints if hint.end is not None), default=None)
        try:
            scenes = dataset.find(next((hint.box for hint in hints if hint.box), None), start, end)
        except datasets.TooMany:
            refuse_long(math.inf)
        # exactly those between the times: what is mapped before a filter is no more work
        scenes = [one for one in scenes if (start is None or one.start >= start)
                  and (end is None or one.start < end)]
        if BEHAVIOUR['archive_end']:
            scenes = [one for one in scenes if one.start < as_date(BEHAVIOUR['archive_end']).value]
        if BEHAVIOUR['collection_order'] == 'reversed':
            scenes = scenes[::-1]
        return [scene_image(scene, f'{name}/{scene.index}') for scene in scenes]
    return Collection(load, images=True)


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


# ---------------------------------------------------------------- arithmetic

def wide(values):
    """The same in 64 bits, so that sums of bytes have room."""
    return values.astype('float64' if values.dtype.kind == 'f' else 'int64', copy=False)


def each(function, *images):
    """Calls a function of bands for each band of some images; an only band goes with all."""
    counts = {len(image.bands) for image in images}
    told = ' and '.join(str(len(image.bands)) for image in images)
    if 0 in counts and len(counts) > 1:
        raise EEError(say_of_caller('one_without_bands', counts=told))
    if len(counts - {1}) > 1:
        raise EEError(say_of_caller('band_numbers', counts=told))
    number = max(counts - {1}, default=1)
    return [function(*bands) for bands in zip(*(
        image.bands * number if len(image.bands) == 1 else image.bands for image in images))]


def together(function, kind, *bands):
    """The first band with what a function makes of the (values, mask) of some."""
    return bands[0].but(lambda pixels: function(*(band.at(pixels) for band in bands)), type_=kind)


def pointwise(function, kind, *bands):
    """The first band with other values: a function of those of some, valid where all are."""
    def compute(*parts):
        values, masks = zip(*parts)
        result = np.asarray(function(*map(wide, values)))
        return (result.astype(np.float32) if kind == FLOAT else result,
                functools.reduce(np.logical_and, masks))
    return together(compute, kind, *bands)


def result_type(name, left, right):
    """The PixelType of an operation on two."""
    if name in ('lt', 'lte', 'gt', 'gte', 'eq', 'neq', 'and', 'or'):
        return BOOLEAN
    if 'double' in (left.precision, right.precision) or name == 'pow':
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
    'ImageCollection.fromImages': lambda images: collect(as_collection(images).elements()),
}
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
        raise EEError(say('lacks', what=f'{type(node).__name__} in an expression'))

    def function(*images):
        return visit(body, dict(zip(names, images)))
    body = ast.parse(text.replace('&&', ' & ').replace('||', ' | ').strip(), mode='eval').body
    function.names = names
    return function


# ---------------------------------------------------------------- bands

def no_bands(selector):
    """What the bands are of an image that has none: an error, unless a switch says otherwise."""
    if BEHAVIOUR['no_bands'] == 'bare':
        return []
    if BEHAVIOUR['no_bands'] == 'old':
        raise EEError(say_of_caller('select_old', pattern=selector))
    raise EEError(say_of_caller('select_no_bands', pattern=selector) + link())


def link():
    """The sentence that may follow where there are no bands."""
    return say('no_bands_link') if BEHAVIOUR['no_bands_link'] else ''


def find_bands(image, selectors):
    """The bands that selectors mean: names, regular expressions or numbers."""
    if not image.bands and selectors:
        return no_bands(selectors[0])
    bands = []
    for selector in selectors:
        if isinstance(selector, (int, float)):
            chosen = image.bands[int(selector):][:1]
        else:
            chosen = [band for band in image.bands if band.name == selector] or [
                band for band in image.bands if re.fullmatch(selector, band.name)]
        if not chosen:
            raise EEError(say_of_caller('select_no_match', pattern=selector,
                                        bands=', '.join(image.names())))
        bands += chosen
    return bands


@algorithm('Image.rename')
def rename(image, names):
    """A name for each band."""
    if len(names) != len(image.bands):
        raise EEError(say_of_caller('rename_number', names=len(names), bands=len(image.bands)))
    return image.replace(bands=[band.but(name=name) for band, name in zip(image.bands, names)])


@algorithm('Image.select')
def select(image, selectors, names=None):
    """Some bands, perhaps renamed."""
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


# ---------------------------------------------------------------- masks

@algorithm('Image.updateMask')
def update_mask(image, test):
    """Masks it also where another is 0 or masked."""
    def cut(of_band, of_test):
        return of_band[0], of_band[1] & of_test[1] & (of_test[0] != 0)
    return image.replace(bands=each(functools.partial(together, cut, None), image, test))


@algorithm('Image.unmask')
def unmask(image, value, same_footprint):
    """Another image, or 0, where it is masked, but not beyond its footprint if that is to be the
    same: developers.google.com/earth-engine/apidocs/ee-image-unmask."""
    value = constant_image(0) if value is None else value

    def fill(band, other):
        def sample(pixels):
            (first, known), (second, filled) = band.at(pixels), other.at(pixels)
            if same_footprint and image.geometry:
                filled = filled & covered(image.geometry, pixels)
            return np.where(known, first, second), known | filled
        return band.but(sample, type_=result_type('max', band.type, other.type))
    footprint = image.geometry if same_footprint else union([image, value])
    return image.replace(bands=each(fill, image, value), geometry=footprint)


@algorithm('Image.where')
def where(image, test, value):
    """Another image where a test is not 0."""
    def choose(first, passed, second):
        chosen = passed[1] & (passed[0] != 0) & second[1]
        return np.where(chosen, second[0], first[0]), first[1]
    return image.replace(bands=each(lambda band, test, value: together(
        choose, result_type('max', band.type, value.type), band, test, value), image, test, value))


@algorithm('Image.remap')
def remap(image, old, new, default, name):
    """New values for old ones; those that are not listed are masked, unless there is a default."""
    def change(part):
        same = part[0][..., None] == np.asarray(old)
        known = same.any(-1)
        values = np.where(known, np.asarray(new)[same.argmax(-1)], default or 0)
        return values, part[1] & (known | (default is not None))
    kind = INT32 if np.asarray(new).dtype.kind == 'i' else DOUBLE
    band = together(change, kind, find_bands(image, [name or 0])[0])
    return image.replace(bands=[band.but(name='remapped')])


@algorithm('Image.normalizedDifference')
def normalized_difference(image, names):
    """(first - second) / (first + second), masked where either is negative or the sum is 0."""
    first, second = find_bands(image, names or [0, 1])
    fine = pointwise(lambda a, b: (a >= 0) & (b >= 0) & (a + b != 0), BOOLEAN, first, second)
    ratio = pointwise(lambda a, b: (a - b) / np.where(a + b, a + b, 1), FLOAT, first, second)
    return update_mask(image.computed([ratio.but(name='nd')]), Image([fine]))


ALGORITHMS |= {
    'Image.cat': lambda images: functools.reduce(add_bands, map(as_image, images)),
    'Image.selfMask': lambda image: update_mask(image, image),
    'Image.mask': lambda image: image.computed(each(lambda band: together(
        lambda part: (np.asarray(part[1]), np.True_), BOOLEAN, band), image)),
}


# ---------------------------------------------------------------- places of images

@algorithm('Image.projection')
def projection_of(image):
    """If all bands have the same."""
    if len({band.projection for band in image.bands}) > 1:
        raise EEError(say_of_caller('projections'))
    return image.projection()


def working_projection(image, crs, transform, scale):
    """What the arguments of an algorithm mean; by default the grid of the first band."""
    projection = crs or image.projection()
    if transform:
        return projection.with_transform(transform)
    return projection.at_scale(scale) if scale else projection


@algorithm('Image.setDefaultProjection')
def set_default_projection(image, crs, transform, scale):
    """For algorithms that are told no other."""
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
            place = pixels.place(projection)
            return band.at(pixels.remember(('centres', projection), lambda: Pixels(
                projection, place.col + .5, place.row + .5)))
        return band.but(sample, projection=projection)
    return image.replace(bands=each(snap, image), grid=None)


def inside(geometry, pixels):
    """Where the centres of pixels are in a geometry."""
    if pixels.is_grid:
        return burn(geometry.to(pixels.projection), pixels.x.flat[0] - .5, pixels.y.flat[0] - .5,
                    *pixels.shape)
    shapely.prepare(geometry.shape)
    return shapely.contains_xy(geometry.shape, *pixels.coordinates(geometry.projection))


def burn(shape, col, row, height, width, touched=False):
    """Where the pixels of a block of the grid have their centre in a shape, or are touched."""
    if shape.is_empty or not shapely.box(col, row, col + width, row + height).intersects(shape):
        return np.zeros((height, width), bool)
    return rasterio.features.rasterize(
        [shape], (height, width), transform=rasterio.Affine.translation(col, row),
        dtype='uint8', all_touched=touched).view(bool)


def covered(footprint, pixels):
    """Where the centres of pixels are in a footprint, which may be that of the whole Earth."""
    area = footprint.degrees()
    shapely.prepare(area)
    return pixels.remember((footprint, 'covered'), lambda: shapely.intersects_xy(
        area, *pixels.coordinates(WGS84)))


def union(elements):
    """The Geometry of all footprints, None if one of them has no bounds."""
    footprints = {id(element.geometry): element.geometry for element in elements}.values()
    if None in footprints or not footprints:
        return None
    if len(footprints) == 1:
        return next(iter(footprints))
    return Geometry(shapely.union_all([footprint.degrees() for footprint in footprints]))


@algorithm('Image.clip')
def clip(image, geometry):
    """Masks it outside of a geometry, which becomes a limit of its footprint, too."""
    clipped = cut_off(image, as_geometry(geometry))
    if image.geometry is None or image.geometry.degrees().covers(clipped.geometry.degrees()):
        return clipped
    return clipped.replace(geometry=Geometry(shapely.intersection(
        image.geometry.degrees(), clipped.geometry.degrees())))


def cut_off(image, geometry):
    """The image masked outside of a geometry."""
    def cut(band):
        def sample(pixels):
            values, mask = band.at(pixels)
            return values, mask & pixels.remember(geometry, lambda: inside(geometry, pixels))
        return band.but(sample)
    return image.replace(bands=each(cut, image), geometry=geometry, grid=None)


ALGORITHMS['Image.clipToCollection'] = clip


def bounds_of(image):
    """West, top, east, bottom in pixels of an image's projection, with north on top, and that."""
    if image.geometry is None:
        raise EEError(say('unbounded_picture'))
    if image.geometry.shape.is_empty:
        raise EEError(say('empty_region'))
    projection = image.projection()
    a, _, c, _, e, f = projection.transform
    projection = projection.with_transform((a, 0, c, 0, -abs(e), f))
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
        image = set_default_projection(image, None, None, scale)
    if scale or not (width or height or largest):
        return cut_to_grid(image, grid_of(image))
    west, top, east, bottom, projection = bounds_of(image)
    across, down = east - west, bottom - top
    if largest:
        width, height = (largest * side / max(across, down) for side in (across, down))
    width = max(1, round(width or height * across / down))
    height = max(1, round(height or width * down / across))
    a, _, _, _, e, _ = projection.transform
    x, y = forward(projection.transform, west, top)
    transform = a * across / width, 0, x, 0, e * down / height, y
    return cut_to_grid(image, (Projection(projection.crs, transform), 0, 0, width, height))


def cut_to_grid(image, grid):
    """The image in the rectangle of a grid, which becomes its projection."""
    projection, col, row, width, height = grid
    frame = Geometry(rectangle(col, row, col + width, row + height), projection)
    return set_default_projection(cut_off(image, frame), projection, None, None).replace(grid=grid)


@algorithm('Image.pixelLonLat')
def pixel_lon_lat():
    """Bands longitude and latitude."""
    def sample(axis, pixels):
        return np.broadcast_to(pixels.coordinates(WGS84)[axis], pixels.shape), np.True_
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
                values[inside(geometry, pixels)] = number
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
    low = band.type.low or 0 if low is None else low
    high = band.type.high or 1 if high is None else high
    if (band.type, low, high, gamma or 1) == (BYTE, 0, 255, 1):
        return band
    return pointwise(lambda values: np.floor(
        255 * np.clip((values - low) / (high - low), 0, 1) ** (1 / (gamma or 1)) + .5), BYTE, band)


def painted(band, palette):
    """Bands of red, green and blue of a band of bytes; the colours lie from 0 to 255."""
    colors = palette.split(',') if isinstance(palette, str) else palette
    colors = [ImageColor.getrgb(re.sub('^(?=[0-9A-Fa-f]{6}$)', '#', color.strip()))
              for color in colors]
    places = np.linspace(0, 255, len(colors))
    return [pointwise(lambda values, channel=channel: np.rint(np.interp(values, places, channel)),
                      BYTE, band) for channel in zip(*colors)]


@algorithm('Image.visualize')
def visualize(image, bands, gain, bias, low, high, gamma, opacity, palette, force_rgb):
    """Bytes vis-red, vis-green and vis-blue, or vis-gray, of 1 or 3 bands."""
    if gain is not None or bias is not None or opacity not in (None, 1):
        raise EEError(say('lacks', what='gain, bias and opacity'))
    names = bands.replace(' ', '').split(',') if isinstance(bands, str) else bands
    chosen = find_bands(image, names) if names else image.bands[:3]
    if not chosen:
        return image  # told where the picture is made
    if len(chosen) not in (1, 3) or palette and len(chosen) == 3:
        raise EEError(say_of_caller('visualize', count=len(chosen)))
    layers = [stretched(*layer) for layer in zip(chosen, three(low), three(high), three(gamma))]
    if palette:
        layers = painted(layers[0], palette)
    if force_rgb and len(layers) == 1:
        layers = layers * 3
    names = ['vis-gray'] if len(layers) == 1 else ['vis-red', 'vis-green', 'vis-blue']
    return image.replace(bands=[layer.but(name=name, type_=BYTE)
                                for layer, name in zip(layers, names)])
