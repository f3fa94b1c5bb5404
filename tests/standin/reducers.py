"""Reducers, and the algorithms that apply them: to regions, to samples and to stacks of images."""
import functools
import math
import warnings

import numpy as np
import shapely

from algorithms import plain, to_string
from images import burn, find_bands, result_type, union, working_projection
from sentences import say, say_of_caller
from values import (ALGORITHMS, BEHAVIOUR, DOUBLE, INT32, WGS84, Band, EEError, Feature, Geometry,
                    Image, Pixels, Reducer, algorithm, collect, grid_of_pixels, refuse_long,
                    refuse_work)

warnings.filterwarnings('ignore', 'All-NaN|Mean of empty|Degrees of freedom', RuntimeWarning)
BLOCK = 2000000  # pixels worked on at a time


# ---------------------------------------------------------------- reducers

def first_valid(array, axis):
    """The first value along an axis that is not NaN."""
    index = np.argmax(array == array, axis=axis, keepdims=True)
    return np.take_along_axis(array, index, axis).squeeze(axis)


def most_frequent(column):
    """The value that is there most often."""
    kinds, counts = np.unique(column[column == column], return_counts=True)
    return kinds[np.argmax(counts)] if kinds.size else np.nan


def histogram(column, axis):
    """How often each value is there."""
    kinds, counts = np.unique(column, return_counts=True)
    return dict(zip(map(to_string, kinds.tolist()), counts.tolist()))


STATISTICS = {  # name: function of an array, with NaN for null, and an axis
    'min': np.nanmin, 'max': np.nanmax, 'mean': np.nanmean, 'median': np.nanmedian,
    'sum': np.nansum, 'stdDev': np.nanstd, 'variance': np.nanvar,
    'count': lambda array, axis: (array == array).sum(axis),
    'first': first_valid, 'last': lambda array, axis: first_valid(array[::-1], axis),
    'mode': lambda array, axis: np.apply_along_axis(most_frequent, axis, array)}
EMPTY = {'count': 0, 'sum': 0, 'histogram': {}}  # of no values; others give null


def percentile(values, names):
    """Reducer.percentile"""
    names = names or [f'p{value:g}' for value in values]
    return Reducer({name: lambda array, axis, value=value: np.nanpercentile(array, value, axis)
                    for name, value in zip(names, values)})


def combine(first, second, prefix, shared):
    """Reducer.combine"""
    if not shared:
        raise EEError(say('lacks', what='combine() without sharedInputs'))
    return Reducer({**first.functions, **{
        prefix + name: function for name, function in second.functions.items()}})


ALGORITHMS |= {
    **{f'Reducer.{name}': lambda *, name=name, function=function: Reducer({name: function})
       for name, function in STATISTICS.items()},
    'Reducer.frequencyHistogram': lambda: Reducer({'histogram': histogram}),
    'Reducer.minMax': lambda: Reducer({'min': np.nanmin, 'max': np.nanmax}),
    'Reducer.percentile': percentile,
    'Reducer.combine': combine,
    'Reducer.toList': lambda size, optional: Reducer({'list': None}, int(size or 1),
                                                     int(optional or 0)),
    'Reducer.histogram': lambda: Reducer({'histogram': histogram}),
    'Reducer.getOutputs': lambda reducer: list(reducer.functions),
    'Reducer.setOutputs': lambda reducer, names: reducer._replace(
        functions=dict(zip(names, reducer.functions.values()))),
    'Reducer.unweighted': lambda reducer: reducer,
}


def reduce_columns(reducer, columns):
    """{output: result} of some columns of equal length, without nulls but optional ones."""
    if None in reducer.functions.values():  # toList
        columns = [[plain(value) for value in column] for column in columns]
        return {'list': columns[0] if len(columns) == 1 else [list(row) for row in zip(*columns)]}
    column = np.asarray(columns[0])
    return {name: plain(function(column, 0)) if column.size else EMPTY.get(name)
            for name, function in reducer.functions.items()}


@algorithm('Collection.reduceColumns')
def reduce_properties(collection, reducer, selectors):
    """Of all elements; those that lack a property are left out, unless it is optional."""
    elements = collection.elements()
    refuse_long(len(elements), BEHAVIOUR['aggregate_limit'])
    if len(selectors) != reducer.inputs:
        raise EEError(say_of_caller('selectors', needed=reducer.inputs, count=len(selectors)))
    needed = reducer.inputs - reducer.optional
    rows = [[element.get(name) for name in selectors] for element in elements]
    rows = [row for row in rows if None not in row[:needed]]
    return reduce_columns(reducer, list(zip(*rows)) or [()] * len(selectors))


ALGORITHMS['List.reduce'] = lambda items, reducer: next(
    iter(reduce_columns(reducer, [items]).values()))


# ---------------------------------------------------------------- regions

def region_pixels(geometry, projection, touched=False):
    """x and y of the pixels whose centres are in a geometry, or that it touches, as points do."""
    cells = [np.zeros((0, 2))]  # columns and rows
    for part in shapely.get_parts(geometry.to(projection)):
        if shapely.get_dimensions(part) < 2:
            cells.append(np.unique(np.floor(shapely.get_coordinates(part)), axis=0))
            continue
        for pixels, found in blocks(part, projection, touched):
            rows, cols = np.nonzero(found)
            cells.append(np.stack([pixels.x[0, cols] - .5, pixels.y[rows, 0] - .5], axis=1))
    return np.concatenate(cells).T + .5


def blocks(shape, projection, touched=False):
    """Blocks of rows of the grid around a shape in pixels: (Pixels, where they are inside)."""
    if shape.is_empty:
        return
    west, top, east, bottom = shape.bounds
    col, width = math.floor(west), max(1, math.ceil(east) - math.floor(west))
    last = max(math.ceil(bottom), math.floor(top) + 1)
    step = max(1, BLOCK // width)
    for row in range(math.floor(top), last, step):
        pixels = grid_of_pixels(projection, col, row, width, min(step, last - row))
        yield pixels, burn(shape, col, row, *pixels.shape, touched)


@functools.lru_cache(maxsize=4)  # the images of a collection mostly have the same grid
def find_pixels(geometry, projection, best_effort, limit, no_centre):
    """The Pixels of a region if they aren't too many."""
    if geometry is None:
        raise EEError(say_of_caller('unbounded_region'))
    count = math.ceil(geometry.to(projection).area)
    if count > limit and not best_effort:
        raise EEError(say_of_caller('pixels', count=count, limit=int(limit)))
    while geometry.to(projection).area > limit:
        projection = projection.at_scale(projection.scale() * 2)
    x, y = region_pixels(geometry, projection)
    if not x.size and no_centre == 'touched':
        x, y = region_pixels(geometry, projection, touched=True)
    return Pixels(projection, x, y)


def column(band, pixels):
    """The values of a band and where they are valid, as many as the pixels."""
    values, mask = band.at(pixels)
    if band.type.precision == 'int' and values.dtype.kind == 'f':
        values = values.astype(np.int64)
    return np.broadcast_to(values, pixels.shape), np.broadcast_to(mask, pixels.shape)


def reduce_pixels(image, reducer, pixels):
    """{name of a band: {output: result}}"""
    if reducer.inputs > 1:
        raise EEError(say('lacks', what='reducer of more than one input here'))
    results = {}
    for band in image.bands:
        values, mask = column(band, pixels)
        results[band.name] = reduce_columns(reducer, [values[mask]])
    return results


def named(results):
    """{name: result}: those of a reducer with one output are called like the bands."""
    return {name if len(outputs) == 1 else f'{name}_{output}': value
            for name, outputs in results.items() for output, value in outputs.items()}


@algorithm('Image.reduceRegion')
def reduce_region(image, reducer, geometry, scale, crs, transform, best_effort, limit):
    """A dictionary."""
    if not image.bands:
        raise EEError(say_of_caller('reduce_no_bands'))
    projection = working_projection(image, crs, transform, scale)
    pixels = find_pixels(geometry or image.geometry, projection, best_effort, limit,
                         BEHAVIOUR['no_centre'])
    return named(reduce_pixels(image, reducer, pixels))


@algorithm('Image.reduceRegions')
def reduce_regions(image, collection, reducer, scale, crs, transform):
    """The features with results as properties; for one band they are called like the outputs."""
    projection = working_projection(image, crs, transform, scale)

    def reduce(feature):
        pixels = find_pixels(feature.geometry, projection, False, 1e12, BEHAVIOUR['no_centre'])
        results = reduce_pixels(image, reducer, pixels)
        return feature.set(results.popitem()[1] if len(results) == 1 else named(results))
    return collect([reduce(feature) for feature in collection.elements()])


# ---------------------------------------------------------------- samples

def lowest(numbers, count):
    """Where the lowest numbers are, in order."""
    chosen = np.argpartition(numbers, count)[:count] if count < numbers.size else (
        np.arange(numbers.size))
    return chosen[np.argsort(numbers[chosen])]


@algorithm('Image.stratifiedSample')
def stratified_sample(image, points, class_band, region, scale, projection, seed, class_values,
                      class_points, drop_nulls, tile_scale, geometries):
    """So many pixels of each class, where no band is masked. Each pixel gets a random number, and
    the lowest of a class win."""
    band = find_bands(image, [class_band or 0])[0]
    if band.type.precision != 'int':
        raise EEError(say_of_caller('class_band', name=band.name))
    wanted = dict(zip(class_values or [], map(int, class_points or [])))
    projection = working_projection(image, projection, None, scale)
    dice = np.random.default_rng(int(seed) + BEHAVIOUR['sample_seed'])
    chosen = {}  # class: rows of number, x, y
    for pixels, valid in blocks((region or image.geometry).to(projection), projection):
        values, mask = column(band, pixels)
        for other in image.bands if drop_nulls else [band]:
            valid = valid & column(other, pixels)[1]
        cells = np.flatnonzero(valid)
        values = values.ravel()[cells].astype(np.int64)
        for kind in np.unique(values).tolist():
            places, count = cells[values == kind], wanted.get(kind, int(points))
            numbers = dice.random(places.size)
            best = lowest(numbers, count)
            row, col = np.divmod(places[best], pixels.shape[1])
            found = np.stack([numbers[best], col + pixels.x.flat[0], row + pixels.y.flat[0]], 1)
            found = np.concatenate([chosen.get(kind, found[:0]), found])
            chosen[kind] = found[lowest(found[:, 0], count)]
    features = [feature for kind in sorted(chosen) for feature in features_at(
        image, projection, chosen[kind][:, 1:], geometries)]
    if BEHAVIOUR['sample_order'] == 'shuffled':
        dice.shuffle(features)
    return collect(features)


def features_at(image, projection, places, geometries):
    """A feature for each pixel, with the values of the bands."""
    pixels = Pixels(projection, *places.T.copy())
    columns = {band.name: column(band, pixels) for band in image.bands}
    points = np.stack(np.broadcast_arrays(*pixels.coordinates(WGS84)), axis=1)
    return [Feature(Geometry(shapely.Point(point)) if geometries else None, {
                name: values[n].item() for name, (values, mask) in columns.items() if mask[n]})
            for n, point in enumerate(points)]


# ---------------------------------------------------------------- stacks of images

def same_bands(images):
    """The images, if they have the same bands."""
    refuse_work(len(images))
    first = images[0].names() if images else []
    for image in images:
        if image.names() != first:
            kinds = (f'{len(names)} bands ([{", ".join(names)}])' for names in (
                first, image.names()))
            raise EEError(say('homogeneous') + say('homogeneous_types', **dict(
                zip(('first', 'other'), kinds))))
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
                covered = covered | mask
                if covered.all():
                    break
            return total, covered
        kinds = {band.type for band in bands}
        return Band(bands[0].name, functools.reduce(functools.partial(result_type, 'max'), kinds),
                    WGS84, sample)
    images = same_bands(collection.elements())
    return Image([merged(*bands) for bands in zip(*(image.bands for image in images))],
                 geometry=union(images))


def reduce_bands(bands, reducer, projection=WGS84):
    """The Bands of the outputs of a reducer of some bands, pixel by pixel."""
    def stack_of(pixels):
        stack = np.full((len(bands), *pixels.shape), np.nan)
        for layer, band in zip(stack, bands):
            layer[...] = np.where(*reversed(band.at(pixels)), np.nan)
        return stack

    def sample(function, pixels):
        values = function(stack_of(pixels), 0)
        return np.nan_to_num(values), ~np.isnan(values)

    def kind(output):
        keeps = output in ('min', 'max', 'first', 'last', 'mode')
        return bands[0].type if keeps else INT32 if output == 'count' else DOUBLE
    return [Band(output, kind(output), projection, functools.partial(sample, function))
            for output, function in reducer.functions.items()]


@algorithm('ImageCollection.reduce')
def reduce_collection(collection, reducer, *, plain_names=False):
    """The bands are called band_output, or plainly like those of the images."""
    images = same_bands(collection.elements())
    return Image([
        band.but(name=layers[0].name if plain_names else f'{layers[0].name}_{band.name}')
        for layers in zip(*(image.bands for image in images))
        for band in reduce_bands(layers, reducer)], geometry=union(images))


def to_bands(collection):
    """An image of all bands of all images."""
    images = collection.elements()
    refuse_work(len(images))
    return Image([band.but(name=f'{image.index}_{band.name}')
                  for image in images for band in image.bands], geometry=union(images))


ALGORITHMS |= {
    **{f'reduce.{name}': lambda collection, *, name=name: reduce_collection(
        collection, Reducer({name: STATISTICS[name]}), plain_names=True) for name in (
            'min', 'max', 'count', 'sum', 'mean', 'median', 'mode')},
    'Image.reduce': lambda image, reducer: image.computed(
        reduce_bands(image.bands, reducer, image.projection())),
    'ImageCollection.toBands': to_bands,
}
