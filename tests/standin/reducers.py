"""Reducers, and the algorithms that apply them: to regions, to samples and to stacks of images."""
import functools
import math
import warnings

import numpy as np
import shapely

from algorithms import plain, to_string
from images import both, burn, find_bands, find_inside, result_type, working_projection
from values import (ALGORITHMS, DOUBLE, INT32, WGS84, Band, EEError, Feature, Geometry, Image,
                    Pixels, Reducer, algorithm, collect, constant_image, grid_of_pixels, numbered,
                    refuse_work)

warnings.filterwarnings('ignore', 'All-NaN|Mean of empty|Degrees of freedom', RuntimeWarning)
BLOCK = 2000000  # pixels worked on at a time


# ---------------------------------------------------------------- reducers

def first_valid(array, axis):
    """The first value along an axis that is not NaN."""
    index = np.argmax(array == array, axis=axis, keepdims=True)
    return np.take_along_axis(array, index, axis).squeeze(axis)


def most_frequent(column):
    kinds, counts = np.unique(column[column == column], return_counts=True)
    return kinds[np.argmax(counts)] if kinds.size else np.nan


def histogram(column, axis):
    kinds, counts = np.unique(column, return_counts=True)
    return dict(zip(map(to_string, kinds.tolist()), counts.tolist()))


STATISTICS = {  # name: function of an array, with NaN for null, and an axis
    'min': np.nanmin, 'max': np.nanmax, 'mean': np.nanmean, 'median': np.nanmedian,
    'sum': np.nansum, 'product': np.nanprod, 'stdDev': np.nanstd, 'variance': np.nanvar,
    'count': lambda array, axis: (array == array).sum(axis),
    'countDistinct': lambda array, axis: np.unique(array).size,
    'first': first_valid, 'firstNonNull': first_valid,
    'last': lambda array, axis: first_valid(array[::-1], axis),
    'mode': lambda array, axis: np.apply_along_axis(most_frequent, axis, array),
    'frequencyHistogram': histogram}
LABELS = {'frequencyHistogram': 'histogram', 'firstNonNull': 'first', 'countDistinct': 'count'}
EMPTY = {'count': 0, 'sum': 0, 'product': 1, 'histogram': {}}  # of no values; others give null


def statistics(functions):
    """The Reducer of one input and the outputs {name: function like those in STATISTICS}."""
    def rows(columns):
        column = np.asarray(columns[0])
        return [plain(function(column, 0)) if column.size else EMPTY.get(name)
                for name, function in functions.items()]
    return Reducer(1, list(functions), rows,
                   lambda stack: [function(stack, 0) for function in functions.values()])


def statistic(name):
    return statistics({LABELS.get(name, name): STATISTICS[name]})


@algorithm('Reducer.percentile')
def percentile(values, names):
    names = names or [f'p{value:g}' for value in values]
    return statistics({name: lambda array, axis, value=value: np.nanpercentile(array, value, axis)
                       for name, value in zip(names, values)})


@algorithm('Reducer.toList')
def to_list(size, optional):
    """A list of values, or of tuples, without those that have a null that is not optional."""
    size, optional = int(size or 1), int(optional or 0)

    def rows(columns):
        columns = [[*map(plain, column)] for column in columns]
        return [columns[0] if size == 1 else [list(row) for row in zip(*columns)]]
    return Reducer(size, ['list'], rows, optional=optional)


@algorithm('Reducer.combine')
def combine(first, second, prefix, shared):
    split = 0 if shared else first.inputs
    inputs = max(first.inputs, second.inputs) if shared else first.inputs + second.inputs
    names = first.outputs + [prefix + name for name in second.outputs]
    if len(set(names)) < len(names):
        raise EEError(f': Output names must be unique: {", ".join(names)}.')

    def rows(columns):
        return (first.rows(columns[:first.inputs])
                + second.rows(columns[split:split + second.inputs]))
    return Reducer(inputs, names, rows, first.stack and second.stack and shared and (
        lambda stack: first.stack(stack) + second.stack(stack)))


ALGORITHMS |= {
    **{f'Reducer.{name}': functools.partial(statistic, name) for name in STATISTICS},
    'Reducer.minMax': lambda: statistics({name: STATISTICS[name] for name in ('min', 'max')}),
    'Reducer.setOutputs': lambda reducer, names: reducer._replace(outputs=names),
    'Reducer.unweighted': lambda reducer: reducer,
}


# ---------------------------------------------------------------- regions

@functools.lru_cache(maxsize=2000)
def region_pixels(geometry, projection):
    """The Pixels of a grid whose centres are in a geometry (of points: that they are in)."""
    cells = [np.zeros((0, 2), np.int64)]  # column and row
    for part in shapely.get_parts(geometry.to(projection)):
        if shapely.get_dimensions(part) < 2:
            points = shapely.get_coordinates(shapely.segmentize(part, .5))
            cells.append(np.unique(np.floor(points).astype(np.int64), axis=0))
        for pixels, found in blocks(part, projection) if shapely.get_dimensions(part) == 2 else ():
            rows, cols = np.nonzero(found)
            cells.append(np.stack([pixels.x[0, cols] - .5, pixels.y[rows, 0] - .5], axis=1))
    x, y = np.concatenate(cells).T + .5
    return Pixels(projection, x, y)


def blocks(shape, projection):
    """Blocks of rows of the grid around a shape in pixels: (Pixels, where they are inside)."""
    if shape.is_empty:
        return
    west, top, east, bottom = shape.bounds
    col, width = math.floor(west), max(1, math.ceil(east) - math.floor(west))
    last = max(math.ceil(bottom), math.floor(top) + 1)
    step = max(1, BLOCK // width)
    for row in range(math.floor(top), last, step):
        pixels = grid_of_pixels(projection, col, row, width, min(step, last - row))
        yield pixels, burn(shape, col, row, *pixels.shape)


@functools.lru_cache(maxsize=2000)
def count_pixels(geometry, projection):
    return math.ceil(geometry.to(projection).area)


def checked_pixels(image, geometry, projection, best_effort, limit):
    """region_pixels() if they aren't too many."""
    geometry = geometry or image.geometry
    if geometry is None:
        raise EEError(': The geometry of an unbounded image must be specified.')
    count = count_pixels(geometry, projection)
    if count > limit and not best_effort:
        raise EEError(f': Too many pixels in the region. Found {count}, but maxPixels allows only '
                      f'{int(limit)}.\nEnsure that you are not aggregating at a higher resolution '
                      'than you intended; that is the most frequent cause of this error. If not, '
                      "then you may set the 'maxPixels' argument to a limit suitable for your "
                      "computation; set 'bestEffort' to true to aggregate at whatever scale "
                      "results in 'maxPixels' total pixels; or both.")
    while count_pixels(geometry, projection) > limit:
        projection = projection.at_scale(projection.scale() * 2)
    return region_pixels(geometry, projection)


def column(band, pixels):
    """The values of a band and where they are valid (None: everywhere), as many as the pixels."""
    values, mask = band.at(pixels)
    if band.type.precision == 'int' and values.dtype.kind == 'f':
        values = values.astype(np.int64)
    if values.shape != pixels.shape:
        values = np.broadcast_to(values, pixels.shape)
    return values, mask if mask is None else np.broadcast_to(mask, pixels.shape)


def reduce_pixels(image, reducer, pixels):
    """{name: result}: those of a reducer with one output are called like the bands."""
    columns, masks = zip(*(column(band, pixels) for band in image.bands))
    if reducer.inputs > 1:
        if reducer.inputs != len(columns):
            raise EEError(f': The reducer wants {reducer.inputs} inputs, but the image has '
                          f'{len(columns)} bands.')
        mask = functools.reduce(both, masks)
        return dict(zip(reducer.outputs, reducer.rows(
            [values if mask is None else values[mask] for values in columns])))
    result = {}
    for name, values, mask in zip(image.names(), columns, masks):
        for output, value in zip(reducer.outputs, reducer.rows(
                [values if mask is None else values[mask]])):
            result[name if len(reducer.outputs) == 1 else f'{name}_{output}'] = value
    return result


@algorithm('Image.reduceRegion')
def reduce_region(image, reducer, geometry, scale, crs, transform, best_effort, limit):
    if not image.bands:
        raise EEError(': Image has no bands.')
    projection = working_projection(image, crs, transform, scale)
    pixels = checked_pixels(image, geometry, projection, best_effort, limit)
    return reduce_pixels(image, reducer, pixels)


@algorithm('Image.reduceRegions')
def reduce_regions(image, collection, reducer, scale, crs, transform):
    """The features with results as properties; for one band they are called like the outputs."""
    projection = working_projection(image, crs, transform, scale)

    def reduce(feature):
        pixels = checked_pixels(image, feature.geometry, projection, False, 1e12)
        results = reduce_pixels(image, reducer, pixels)
        if len(image.bands) == 1 and reducer.inputs == 1:
            results = dict(zip(reducer.outputs, results.values()))
        return feature.set(results)
    return collect([reduce(feature) for feature in collection.elements()], False)


# ---------------------------------------------------------------- samples

def lowest(numbers, count):
    """Where the lowest numbers are, in order."""
    chosen = np.argpartition(numbers, count)[:count] if count < numbers.size else (
        np.arange(numbers.size))
    return chosen[np.argsort(numbers[chosen])]


def draw(image, class_band, region, projection, seed, wanted):
    """{class: (k, 2) array of columns and rows} of up to wanted(class) random pixels each, where
    no band is masked. Each pixel gets a random number, and the lowest of a class win."""
    dice = np.random.default_rng(int(seed))
    chosen = {}  # class: rows of number, x, y
    for pixels, valid in blocks(region.to(projection), projection):
        values, mask = column(class_band, pixels)
        for band in image.bands:
            valid = both(valid, column(band, pixels)[1])
        cells = np.flatnonzero(both(valid, mask))
        values = values.ravel()[cells].astype(np.int64)
        for kind in np.unique(values).tolist():
            places = cells[values == kind]
            numbers = dice.random(places.size)
            best = lowest(numbers, wanted(kind))
            row, col = np.divmod(places[best], pixels.shape[1])
            found = np.stack([numbers[best], col + pixels.x.flat[0], row + pixels.y.flat[0]], 1)
            found = np.concatenate([chosen.get(kind, found[:0]), found])
            chosen[kind] = found[lowest(found[:, 0], wanted(kind))]
    return {kind: chosen[kind][:, 1:] for kind in sorted(chosen)}


def features_at(image, projection, places, geometries, properties=None):
    """A feature for each pixel, with the values of the bands."""
    pixels = Pixels(projection, *places.T.copy())
    columns = [column(band, pixels) for band in image.bands]
    points = np.stack(np.broadcast_arrays(*pixels.coordinates(WGS84)), axis=1)
    return [Feature(Geometry(shapely.Point(point)) if geometries else None,
                    {**(properties or {}), **{
                        name: values[n].item() for name, (values, mask) in zip(
                            image.names(), columns) if mask is None or mask[n]}})
            for n, point in enumerate(points)]


@algorithm('Image.stratifiedSample')
def stratified_sample(image, points, class_band, region, scale, projection, seed, class_values,
                      class_points, drop_nulls, tile_scale, geometries):
    """So many pixels of each class; none in a region that is empty."""
    band = find_bands(image, [class_band or 0])[0]
    if band.type.precision != 'int':
        raise EEError(f": Class band '{band.name}' must be an integer.")
    special = dict(zip(class_values or [], class_points or []))
    projection = working_projection(image, projection, None, scale)
    found = draw(image if drop_nulls else Image([]), band, region or image.geometry, projection,
                 seed, lambda kind: int(special.get(kind, points)))
    return numbered([feature for places in found.values() for feature in features_at(
        image, projection, places, geometries)], False)


@algorithm('Image.sample')
def sample(image, region, scale, projection, factor, count, seed, drop_nulls, tile_scale,
           geometries):
    """numPixels or a share of the pixels, or all of them."""
    projection = working_projection(image, projection, None, scale)
    region = region or image.geometry
    limit = int(count or math.ceil((factor or 1) * count_pixels(region, projection)))
    found = draw(image if drop_nulls else Image([]), constant_image(0).bands[0], region, projection,
                 seed, lambda kind: limit)
    return numbered(features_at(image, projection, found.get(0, np.zeros((0, 2))), geometries),
                    False)


@algorithm('Image.sampleRegions')
def sample_regions(image, collection, properties, scale, projection, tile_scale, geometries):
    """All pixels in each feature, without those where a band is masked."""
    projection = working_projection(image, projection, None, scale)
    rows = []
    for feature in collection.elements():
        kept = feature.properties if properties is None else {
            name: feature.get(name) for name in properties if feature.get(name) is not None}
        pixels = region_pixels(feature.geometry, projection)
        found = features_at(image, projection, np.stack([pixels.x, pixels.y], axis=1), geometries,
                            kept)
        rows += [row.replace(index=f'{feature.index}_{number}') for number, row in enumerate(found)
                 if row.properties.keys() >= set(image.names())]
    return collect(rows, False)


# ---------------------------------------------------------------- stacks of images

def same_bands(images):
    """The images, if they have the same bands."""
    refuse_work(len(images))
    first = images[0].names() if images else []
    for image in images:
        if image.names() != first:
            raise EEError(
                'Expected a homogeneous image collection, but an image with incompatible bands was '
                f'encountered. First image type: {len(first)} bands ([{", ".join(first)}]). '
                f'Current image type: {len(image.bands)} bands ([{", ".join(image.names())}]). '
                'Some bands might require explicit casts.')
    return images


@algorithm('ImageCollection.mosaic')
def mosaic(collection):
    """The last image on top, as Earth Engine's page on ee.ImageCollection.mosaic says."""
    def merged(*bands):
        def sample(pixels):
            total, covered = np.zeros((), np.int64), np.zeros((), bool)
            for band in reversed(bands):
                values, mask = band.at(pixels)
                total = np.where(covered, total, values) if covered.any() else values
                if mask is None:
                    return total, None
                covered = covered | mask
                if covered.all():
                    return total, None
            return total, covered
        kinds = {band.type for band in bands}
        return Band(bands[0].name, functools.reduce(functools.partial(result_type, 'max'), kinds),
                    WGS84, sample)
    images = same_bands(collection.elements())
    return Image([merged(*bands) for bands in zip(*(image.bands for image in images))])


def stack_of(bands, pixels):
    """An array (bands, rows, columns) with NaN where they are masked."""
    stack = np.full((len(bands), *pixels.shape), np.nan)
    for layer, band in zip(stack, bands):
        values, mask = band.at(pixels)
        layer[...] = values if mask is None else np.where(mask, values, np.nan)
    return stack


def reduce_bands(bands, reducer, projection=WGS84):
    """The Bands of the outputs of a reducer of some bands, pixel by pixel."""
    if not reducer.stack:
        raise EEError(': The stand-in knows reducers of one input only.')

    def sample(part, pixels):
        values = reducer.stack(stack_of(bands, pixels))[part]
        return np.nan_to_num(values), None if values.dtype.kind == 'i' else ~np.isnan(values)

    def kind(output):
        keeps = output in ('min', 'max', 'first', 'last', 'mode')
        return bands[0].type if keeps else INT32 if output == 'count' else DOUBLE
    return [Band(output, kind(output), projection, functools.partial(sample, part))
            for part, output in enumerate(reducer.outputs)]


@algorithm('ImageCollection.reduce')
def reduce_collection(collection, reducer, *, plain_names=False):
    images = same_bands(collection.elements())
    return Image([
        band.but(name=layers[0].name if plain_names else f'{layers[0].name}_{band.name}')
        for layers in zip(*(image.bands for image in images))
        for band in reduce_bands(layers, reducer)])


@algorithm('Collection.reduceToImage')
def reduce_to_image(collection, properties, reducer):
    """Pixels get what the reducer makes of the features over them; others are masked."""
    def layer(geometry, value):
        return Band('', DOUBLE, WGS84, lambda pixels: (
            np.asarray(float(value)), find_inside(geometry, pixels)))
    name, = properties
    layers = [layer(feature.geometry, feature.get(name)) for feature in collection.elements()
              if feature.geometry and feature.get(name) is not None]
    return Image(reduce_bands(layers or [layer(Geometry(shapely.Point()), 0)], reducer))


ALGORITHMS |= {
    **{f'reduce.{name}': lambda collection, *, name=name: reduce_collection(
        collection, statistic(name), plain_names=True) for name in (
            'min', 'max', 'count', 'sum', 'product', 'mean', 'median', 'mode')},
    'Image.reduce': lambda image, reducer: image.computed(
        reduce_bands(image.bands, reducer, image.projection())),
    'ImageCollection.toBands': lambda collection: Image([
        band.but(name=f'{image.index}_{band.name}')
        for image in collection.elements() for band in image.bands]),
}
