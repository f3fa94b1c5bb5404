"""The algorithms on numbers, strings, lists, dictionaries, dates, filters, geometries, features and
collections. Each gets the arguments of its signature in the order of the signature."""
import functools
import math
import operator
import re
from collections import Counter

import numpy as np
import pyproj
import shapely

import datasets
from sentences import say, say_of_caller
from values import (ALGORITHMS, BEHAVIOUR, WGS84, Collection, Date, DateRange, EEError, Feature,
                    Filter, Geometry, Projection, algorithm, as_collection, as_date, as_geometry,
                    as_projection, collect, rectangle, refuse_long, refuse_work)

GEOD = pyproj.Geod(ellps='WGS84')


# ---------------------------------------------------------------- numbers, strings

def divide(left, right):
    """0 where the divisor is 0, as in Earth Engine."""
    zero = right == 0
    return np.where(zero, 0, left / np.where(zero, 1, right))


BINARY = {  # name: function of two arrays; images share them
    'add': np.add, 'subtract': np.subtract, 'multiply': np.multiply, 'divide': divide,
    'mod': np.fmod, 'pow': np.float_power, 'max': np.maximum, 'min': np.minimum, 'lt': np.less,
    'lte': np.less_equal, 'gt': np.greater, 'gte': np.greater_equal, 'eq': np.equal,
    'neq': np.not_equal, 'and': np.logical_and, 'or': np.logical_or, 'bitwiseAnd': np.bitwise_and,
    'bitwiseOr': np.bitwise_or, 'leftShift': np.left_shift, 'rightShift': np.right_shift}
UNARY = {
    'abs': np.abs, 'floor': np.floor, 'ceil': np.ceil, 'round': lambda value: np.floor(value + .5),
    'not': np.logical_not, 'sqrt': np.sqrt, 'exp': np.exp, 'log': np.log, 'log10': np.log10,
    'sin': np.sin, 'cos': np.cos}
WHOLE = 'abs', 'floor', 'ceil', 'round', 'not'  # of these the result is an integer
KINDS = {  # name of a cast: type
    **{f'to{kind.capitalize()}': kind for kind in (
        'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'float', 'double')},
    'toByte': 'uint8', 'toShort': 'int16', 'toInt': 'int32', 'toLong': 'int64'}
KINDS |= {name[2:].lower(): kind for name, kind in KINDS.items()}


def clamp_to(kind, value):
    """Numbers cast to a type: cut off towards zero, and held within its limits."""
    if kind in ('float', 'double'):
        return np.asarray(value, 'float32' if kind == 'float' else 'float64')
    limits = np.iinfo(kind)
    return np.clip(np.trunc(value), limits.min, min(limits.max, 2**62)).astype(np.int64)


def plain(value):
    """A Python value of a numpy one; a comparison gives 0 or 1."""
    value = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
    return int(value) if isinstance(value, bool) else value


def to_string(value):
    """Text of a value, as in Java."""
    if isinstance(value, Date):
        return format_date(value)
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(map(to_string, value)) + ']'
    if isinstance(value, dict):
        return '{' + ', '.join(f'{key}={to_string(item)}' for key, item in value.items()) + '}'
    return 'null' if value is None else str(plain(value))


ALGORITHMS |= {
    **{f'Number.{name}': lambda left, right, *, function=function: plain(function(left, right))
       for name, function in BINARY.items()},
    **{f'Number.{name}': lambda value, *, function=function, tidy=int if name in WHOLE else plain:
       tidy(function(value)) for name, function in UNARY.items()},
    **{f'Number.{name}': lambda value, *, kind=kind: plain(clamp_to(kind, value))
       for name, kind in KINDS.items()},
    'Number.format': lambda number, pattern: pattern % number,  # Java's %d, %.2f are Python's
    'String': to_string,
    'String.cat': operator.add,
    'String.length': len,
    'String.slice': lambda text, start, end: text[int(start):None if end is None else int(end)],
    'String.split': lambda text, regex: re.split(regex, text),
}


# ---------------------------------------------------------------- lists, dictionaries

def distinct(values):
    """The first of each kind."""
    return list({to_string(value): value for value in reversed(values)}.values())[::-1]


def get_item(items, index):
    """List.get"""
    if not -len(items) <= index < len(items):
        raise EEError(say_of_caller('list_index', last=len(items) - 1, index=index))
    return items[int(index)]


def get_entry(items, key, default):
    """Dictionary.get"""
    if key not in items and default is None:
        raise EEError(say_of_caller('no_key', key=key))
    return items.get(key, default)


def sequence(start, end, step, count):
    """List.sequence"""
    if count is None:
        count = math.floor((end - start) / step + 1e-9) + 1
    elif end is not None:
        step = (end - start) / max(count - 1, 1)
    return [start + step * n for n in range(int(count))]


ALGORITHMS |= {
    'List.add': lambda items, item: [*items, item],
    'List.cat': operator.add,
    'List.contains': operator.contains,
    'List.distinct': distinct,
    **dict.fromkeys(('List.get', 'List.getNumber', 'List.getString'), get_item),
    'List.length': len, 'List.size': len,
    'List.map': lambda items, function, drop_nulls: [
        result for result in map(function, items) if result is not None or not drop_nulls],
    'List.reverse': lambda items: items[::-1],
    'List.sequence': sequence,
    'List.slice': lambda items, start, end, step: items[slice(
        *(None if part is None else int(part) for part in (start, end, step)))],
    'List.sort': lambda items: sorted(items),
    'Dictionary': lambda value: value or {},
    'Dictionary.combine': lambda first, second, overwrite: (
        {**first, **second} if overwrite else {**second, **first}),
    'Dictionary.contains': operator.contains,
    'Dictionary.fromLists': lambda keys, values: dict(zip(keys, values)),
    **dict.fromkeys(('Dictionary.get', 'Dictionary.getNumber', 'Dictionary.getString'), get_entry),
    'Dictionary.keys': sorted,
    'Dictionary.set': lambda items, key, value: {**items, key: value},
    'Dictionary.values': lambda items, names: [
        items[name] for name in (sorted(items) if names is None else names)],
}


# ---------------------------------------------------------------- dates

DAYS = {'second': 1 / 86400, 'minute': 1 / 1440, 'hour': 1 / 24, 'day': 1, 'week': 7,
        'month': 365.2425 / 12, 'year': 365.2425}  # how many a unit has, on average
JODA = {  # a run of letters in a pattern of Joda-Time: the same for strftime
    'yyyy': '%Y', 'YYYY': '%Y', 'MMM': '%b', 'MM': '%m', 'dd': '%d', 'DDD': '%j', 'HH': '%H',
    'mm': '%M', 'ss': '%S', 'M': '%-m', 'd': '%-d', 'D': '%-j', 'H': '%-H', 'y': '%Y', 'Y': '%Y'}


def format_date(date, pattern=None):
    """A date in a pattern of Joda-Time, in which quotes enclose plain text."""
    def translate(match):
        quoted, run = match[1], match[2]
        if run and run not in JODA:
            raise EEError(say_of_caller('lacks_of', algorithm='Date.format',
                                        what=f'{run} in a pattern'))
        return JODA[run] if run else match[0] if quoted is None else quoted
    pattern = pattern or "yyyy-MM-dd'T'HH:mm:ss"
    return date.moment().strftime(re.sub(r"'([^']*)'|(([A-Za-z])\3*)|.", translate, pattern))


def advance(date, delta, unit):
    """Date.advance; the last day of a month stays one if need be."""
    unit = unit.lower().rstrip('s')
    if unit not in ('month', 'year'):
        return Date(date.value + round(delta * DAYS[unit] * datasets.DAY))
    moment = date.moment()
    months = moment.year * 12 + moment.month - 1 + int(delta) * (12 if unit == 'year' else 1)
    first, following = (datasets.day_of(n // 12, n % 12 + 1) for n in (months, months + 1))
    day = min(first + moment.day - 1, following - 1)
    return Date(day * datasets.DAY + date.value % datasets.DAY)


ALGORITHMS |= {
    'Date': as_date,
    'Date.advance': advance,
    'Date.difference': lambda date, start, unit: (
        (date.value - start.value) / DAYS[unit.lower().rstrip('s')] / datasets.DAY),
    'Date.format': format_date,
    'Date.fromYMD': lambda year, month, day: Date(
        datasets.day_of(int(year), int(month), int(day)) * datasets.DAY),
    'Date.get': lambda date, unit: getattr(date.moment(), unit),
    'Date.millis': lambda date: date.value,
    'DateRange': lambda start, end: DateRange(  # without an end, a millisecond
        as_date(start).value, as_date(start).value + 1 if end is None else as_date(end).value),
}


# ---------------------------------------------------------------- filters

def comparable(value):
    """A Date as a number."""
    return value.value if isinstance(value, Date) else value


def make_filter(test):
    """An algorithm that makes a Filter of a test of two values; one is null if it is missing."""
    def make(left_field, right_value, right_field, left_value):
        def passes(element):
            left = comparable(element.get(left_field) if left_field else left_value)
            right = comparable(element.get(right_field) if right_field else right_value)
            try:
                return test(left, right)
            except TypeError:  # a number and a text, or a null
                return False
        return Filter(passes)
    return make


def filter_dates(left_field, right_value, right_field, dates):
    """Elements with a time, in ms, in a range of dates."""
    hint = {'start': dates.start, 'end': dates.end} if right_field == 'system:time_start' else {}
    return Filter(lambda element: element.get(right_field) is not None
                  and dates.start <= comparable(element.get(right_field)) < dates.end, **hint)


def filter_shapes(left_field, region, right_field):
    """Elements that intersect a region."""
    region = as_geometry(region).degrees()
    shapely.prepare(region)

    def passes(element):
        if element.geometry is None:
            return element.images  # an image without footprint is everywhere
        return bool(region.intersects(element.geometry.degrees()))
    return Filter(passes, box=None if region.is_empty else region.bounds)


def filter_and(filters):
    """Filter.and"""
    return Filter(lambda element: all(part.test(element) for part in filters),
                  next((part.box for part in filters if part.box), None),
                  max((part.start for part in filters if part.start is not None), default=None),
                  min((part.end for part in filters if part.end is not None), default=None))


def filter_calendar(start, end, field):
    """Both ends are included, and a range may go over the end of the year."""
    end = start if end is None else end
    part = {'day_of_year': '%j', 'day_of_month': '%d', 'month': '%m', 'year': '%Y', 'hour': '%H'}

    def passes(element):
        value = int(Date(element.get('system:time_start')).moment().strftime(part[field]))
        return start <= value <= end if start <= end else value >= start or value <= end
    return Filter(passes)


ALGORITHMS |= {f'Filter.{name}': function for name, function in {
    'equals': make_filter(lambda left, right: left is not None and left == right),
    'notEquals': make_filter(operator.ne),
    'lessThan': make_filter(operator.lt), 'lessThanOrEquals': make_filter(operator.le),
    'greaterThan': make_filter(operator.gt), 'greaterThanOrEquals': make_filter(operator.ge),
    'listContains': make_filter(operator.contains),
    'stringContains': make_filter(operator.contains),
    'stringStartsWith': make_filter(lambda left, right: (left or '').startswith(right)),
    'stringEndsWith': make_filter(lambda left, right: (left or '').endswith(right)),
    'dateRangeContains': filter_dates,
    'calendarRange': filter_calendar,
    'intersects': filter_shapes,
    'and': filter_and,
    'or': lambda filters: Filter(lambda item: any(part.test(item) for part in filters)),
    'not': lambda negated: Filter(lambda item: not negated.test(item)),
    'notNull': lambda names: Filter(
        lambda item: all(item.get(name) is not None for name in names)),
}.items()}


# ---------------------------------------------------------------- projections, geometries

def pairs(coordinates):
    """Pairs of all numbers in nested lists, points included."""
    if isinstance(coordinates, Geometry):
        return list(coordinates.shape.coords)
    if all(isinstance(part, (int, float)) for part in coordinates):
        return list(zip(coordinates[::2], coordinates[1::2]))
    return [pair for part in coordinates for pair in pairs(part)]


def polygon(parts):
    """Of a ring, or of some rings of which all but the first are holes."""
    nested = isinstance(parts[0], list) and isinstance(parts[0][0], (list, Geometry))
    shell, *holes = map(pairs, parts if nested else [parts])
    return shapely.Polygon(shell, holes)


SHAPES = {
    'Point': lambda parts: shapely.Point(*pairs(parts)[0]),
    'MultiPoint': lambda parts: shapely.MultiPoint(pairs(parts)),
    'Rectangle': lambda parts: rectangle(*pairs(parts)[0], *pairs(parts)[-1]),
    'Polygon': polygon,
    'MultiPolygon': lambda parts: shapely.union_all([polygon(part) for part in parts])}


def buffer(geometry, distance, error, projection):
    """By units of a projection if one is given, else by metres."""
    y, metre = geometry.degrees().centroid.y, 1 / 111319.5
    metres = Projection('EPSG:4326', (metre / math.cos(math.radians(y)), 0, 0, 0, metre, 0))
    result = Geometry(geometry.to(projection or metres).buffer(distance, quad_segs=8),
                      projection or metres)
    return result if projection else Geometry(result.degrees())


def by_shapely(operation):
    """An algorithm on a geometry and perhaps another, in a projection or else in degrees."""
    def compute(*given):
        *geometries, _, projection = given
        result = operation(*(part.to(projection or WGS84) for part in geometries))
        return Geometry(result, projection or WGS84) if (
            isinstance(result, shapely.Geometry)) else result.item()
    return compute


def area(geometry, error, projection):
    """Square metres, or units of a projection."""
    if projection:
        return geometry.to(projection).area
    return abs(GEOD.geometry_area_perimeter(geometry.degrees())[0])


SPATIAL = {  # Geometry.name and Feature.name
    'area': area,
    'bounds': by_shapely(lambda shape: rectangle(*shape.bounds)),
    'buffer': buffer,
    'centroid': by_shapely(shapely.centroid),
    **{name: by_shapely(getattr(shapely, name)) for name in (
        'intersection', 'union', 'difference', 'intersects', 'contains')}}


def of_feature(function):
    """The same algorithm for a feature: a new geometry replaces its own."""
    def compute(feature, *rest):
        result = function(as_geometry(feature), *(
            as_geometry(part) if isinstance(part, Feature) else part for part in rest))
        return feature.replace(geometry=result) if isinstance(result, Geometry) else result
    return functools.wraps(function)(compute)  # and with as many arguments


ALGORITHMS |= {
    'ErrorMargin': lambda value: value,
    'Projection': lambda crs, transform: as_projection(crs).with_transform(
        transform or WGS84.transform),
    'Projection.atScale': Projection.at_scale,
    'Projection.nominalScale': Projection.scale,
    **{f'GeometryConstructors.{kind}': lambda parts, crs, *, make=make: Geometry(
        shapely.make_valid(make(parts)), crs or WGS84) for kind, make in SHAPES.items()},
    'GeometryConstructors.BBox': lambda *sides: Geometry(rectangle(*sides)),
    'Geometry.coordinates': lambda geometry: shapely.geometry.mapping(
        geometry.shape)['coordinates'],
    **{f'Geometry.{name}': function for name, function in SPATIAL.items()},
    **{f'Feature.{name}': of_feature(function) for name, function in SPATIAL.items()},
}


# ---------------------------------------------------------------- features

def to_dictionary(element, names):
    """Those of some properties that there are, by default all."""
    names = list(element.properties) if names is None else names
    return {name: element.get(name) for name in names if element.get(name) is not None}


def copy_properties(destination, source, names):
    """Without names all but those of the system."""
    found = to_dictionary(source, names)
    return destination.set({name: value for name, value in found.items()
                            if names or not name.startswith('system:')})


ALGORITHMS |= {
    'Feature': lambda geometry, properties: geometry if isinstance(geometry, Feature) else Feature(
        geometry, {}).set(properties or {}),
    **dict.fromkeys(('Element.get', 'Element.getNumber', 'Element.getString'),
                    lambda element, name: element.get(name)),
    'Element.set': lambda element, name, value: element.set({name: value}),
    'Element.setMulti': lambda element, values: element.set(values),
    'Element.toDictionary': to_dictionary,
    **dict.fromkeys(('Element.copyProperties', 'Image.copyProperties'), copy_properties),
    **dict.fromkeys(('Element.geometry', 'Feature.geometry', 'Image.geometry'), as_geometry),
    'Feature.id': lambda feature: feature.index,
    'Image.id': lambda image: image.asset or image.index,
}


# ---------------------------------------------------------------- collections

def not_found(kind, name, function='load'):
    """The error for an asset that there isn't."""
    return EEError(say('not_found', kind=kind, name=name, function=function),
                   BEHAVIOUR['not_found_status'])


@functools.cache
def table_features(name):
    """The features of a dataset."""
    return [Feature(Geometry(shape), properties, index)
            for index, properties, shape in datasets.TABLES[name]()]


@algorithm('Collection.loadTable')
def load_table(name):
    """A dataset as a collection."""
    if name not in datasets.TABLES:
        raise not_found('Collection', name, 'loadTable')
    return collect(table_features(name))


@algorithm('Collection.filter')
def filter_collection(collection, condition):
    """The condition is a hint for the dataset, too."""
    return Collection(lambda hints: [element for element in collection.elements((condition, *hints))
                                     if condition.test(element)], collection.images)


@algorithm('Collection.map')
def map_collection(collection, function, drop_nulls):
    """An error says in which element it was; results keep its index."""
    def apply(element):
        try:
            result = function(element)
        except EEError as error:
            told = say('in_map', index=element.index, error=error)
            raise EEError(told, error.status) from None
        if isinstance(result, Collection):  # for flatten()
            return Feature(None, {'inner': result}, element.index)
        if not isinstance(result, Feature) and (result is not None or not drop_nulls):
            raise EEError(say('mapped'))
        return result and result.replace(index=element.index)

    def load(hints):
        elements = collection.elements(hints)
        if collection.images:
            refuse_work(len(elements))
        return [result for result in map(apply, elements) if result is not None]
    return Collection(load, collection.images)


@algorithm('Collection.limit')
def limit_collection(collection, count, key, ascending):
    """Also sorts; elements without the key are left out."""
    def load(hints):
        elements = collection.elements(hints if count is None else ())
        if key is not None:
            elements = sorted((item for item in elements if item.get(key) is not None),
                              key=lambda item: comparable(item.get(key)), reverse=not ascending)
        return elements if count is None else elements[:int(count)]
    return Collection(load, collection.images)


@algorithm('Collection.flatten')
def flatten_collection(collection):
    """Each index is that of the inner collection and that of the element, with _ in between."""
    return collect([item.replace(index=f'{outer.index}_{item.index}')
                    for outer in collection.elements()
                    for item in outer.get('inner').elements()])


def aggregate(function):
    """An algorithm on the values of a property, without nulls."""
    def compute(collection, name):
        elements = collection.elements()
        refuse_long(len(elements), BEHAVIOUR['aggregate_limit'])
        values = [element.get(name) for element in elements]
        return function([value for value in values if value is not None])
    return compute


def to_list(collection, count, offset):
    """Some elements; images among them are worked on by what maps the list."""
    found = collection.elements()[int(offset):int(offset) + int(count)]
    if collection.images:
        refuse_work(len(found))
    return found


def first_element(collection):
    """Collection.first; of a dataset that isn't listed as a whole, the first at some place."""
    try:
        elements = collection.elements()
    except EEError:
        place = Filter(lambda element: True, box=(-105.3, 39.9, -105.1, 40.1))
        elements = collection.elements((place,))
    return next(iter(elements), None)


ALGORITHMS |= {
    'Collection': as_collection,
    'Collection.first': first_element,
    'Collection.size': lambda collection: len(collection.elements()),
    'Collection.toList': to_list,
    'Collection.geometry': lambda collection: collection.region,
    **{f'AggregateFeatureCollection.{name}': aggregate(function) for name, function in {
        'array': list, 'count': len, 'sum': sum,
        'first': lambda values: values[0] if values else None,
        'count_distinct': lambda values: len(distinct(values)),
        'min': lambda values: min(values, default=None),
        'max': lambda values: max(values, default=None),
        'mean': lambda values: sum(values) / len(values) if values else None,
        'histogram': lambda values: dict(sorted(Counter(map(to_string, values)).items()))}.items()},
}
