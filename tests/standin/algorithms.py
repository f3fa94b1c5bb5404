"""The algorithms on numbers, strings, lists, dictionaries, dates, filters, geometries, features and
collections. Each gets the arguments of its signature in the order of the signature."""
import datetime
import functools
import json
import math
import operator
import re

import numpy as np
import pyproj
import shapely

import datasets
from values import (BEHAVIOUR, UNITS, WGS84, Collection, Date, DateRange, EEError, Feature, Filter,
                    Geometry, Projection, algorithm, as_collection, as_date, as_geometry,
                    as_projection, clock, collect, collection_of, format_date, forward, parse_date,
                    refuse_long)

GEOD = pyproj.Geod(ellps='WGS84')


# ---------------------------------------------------------------- numbers, strings

def divide(left, right):
    """0 where the divisor is 0, as in Earth Engine."""
    zero = right == 0
    return np.where(zero, 0, left / np.where(zero, 1, right))


def shift(left, right):
    return left << right if np.all(right >= 0) else left >> -right


BINARY = {  # name: function of two arrays; images share them
    'add': np.add, 'subtract': np.subtract, 'multiply': np.multiply, 'divide': divide,
    'mod': np.fmod, 'pow': np.float_power, 'max': np.maximum, 'min': np.minimum,
    'atan2': np.arctan2, 'hypot': np.hypot, 'first': lambda left, right: left,
    'firstNonZero': lambda left, right: np.where(left != 0, left, right),
    'lt': np.less, 'lte': np.less_equal, 'gt': np.greater, 'gte': np.greater_equal,
    'eq': np.equal, 'neq': np.not_equal, 'and': np.logical_and, 'or': np.logical_or,
    'bitwiseAnd': np.bitwise_and, 'bitwiseOr': np.bitwise_or, 'bitwiseXor': np.bitwise_xor,
    'leftShift': shift, 'rightShift': lambda left, right: shift(left, -right)}
UNARY = {
    'abs': np.abs, 'floor': np.floor, 'ceil': np.ceil, 'round': lambda value: np.floor(value + .5),
    'sqrt': np.sqrt, 'exp': np.exp, 'log': np.log, 'log10': np.log10, 'cbrt': np.cbrt,
    'sin': np.sin, 'cos': np.cos, 'tan': np.tan, 'asin': np.arcsin, 'acos': np.arccos,
    'atan': np.arctan, 'sinh': np.sinh, 'cosh': np.cosh, 'tanh': np.tanh, 'signum': np.sign,
    'not': np.logical_not, 'bitwiseNot': np.invert, 'bitCount': np.bitwise_count}
WHOLE = {'abs', 'floor', 'ceil', 'round', 'signum', 'not', 'bitwiseNot', 'bitCount'}
CASTS_TO = {  # name of a cast: type
    **{name: kind for kind in ('int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32',
                               'float', 'double')
       for name in (kind, f'to{kind.capitalize()}')},
    **{name: kind for kind, pair in {
        'uint8': ('byte', 'toByte'), 'int16': ('short', 'toShort'), 'int32': ('int', 'toInt'),
        'int64': ('long', 'toLong')}.items() for name in pair}}


def snake(name):
    """bitwise_and for bitwiseAnd: both are names of the same algorithm."""
    return re.sub('[A-Z]', lambda match: '_' + match[0].lower(), name)


def clamp_to(kind, value):
    """Numbers cast to a type: cut off towards zero, and held within its limits."""
    if kind in ('float', 'double'):
        return np.asarray(value, 'float32' if kind == 'float' else 'float64')
    limits = np.iinfo(kind)
    return np.clip(np.trunc(value), limits.min, min(limits.max, 2**62)).astype(np.int64)


def plain(value):
    """A Python number of a numpy one; a comparison gives 0 or 1, and a whole result is an int."""
    value = np.asarray(value).item()
    return int(value) if isinstance(value, bool) else value


def number_binary(function, whole):
    def compute(left, right):
        value = plain(function(np.asarray(left), np.asarray(right)))
        return int(value) if whole and isinstance(left, int) and isinstance(right, int) else value
    return compute


for _name, _function in BINARY.items():
    algorithm(f'Number.{_name}', f'Number.{snake(_name)}')(
        number_binary(_function, _name not in ('divide', 'pow', 'atan2', 'hypot')))
for _name, _function in UNARY.items():
    algorithm(f'Number.{_name}', f'Number.{snake(_name)}')(
        lambda value, function=_function, whole=_name in WHOLE:
        (int if whole else plain)(plain(function(np.asarray(value)))))
for _name, _kind in CASTS_TO.items():
    algorithm(f'Number.{_name}')(lambda value, kind=_kind: plain(clamp_to(kind, value)))

algorithm('Number.clamp')(lambda number, low, high: min(max(number, low), high))
algorithm('Number.unitScale')(lambda number, low, high: (number - low) / (high - low))


@algorithm('Number.parse')
def parse_number(text, radix):
    try:
        return int(text, int(radix)) if re.fullmatch(r'[+-]?\w+', text) else float(text)
    except ValueError:
        raise EEError(f"Number.parse: Cannot parse '{text}' as a number.") from None


@algorithm('Number.format')
def format_number(number, pattern):
    """Java's %d, %.2f, %s and so on are Python's."""
    if re.search('%[-+ 0,(#]*[0-9]*d', pattern) and number != int(number):
        raise EEError(f"Number.format: Invalid format string: '{pattern}' for {number}.")
    return pattern % (number if 's' not in pattern else to_string(number))


def to_string(value):
    """Text of a value, as in Java."""
    if value is None or isinstance(value, bool):
        return {None: 'null', True: 'true', False: 'false'}[value]
    if isinstance(value, str):
        return value
    if isinstance(value, Date):
        return format_date(value.value, None)
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(map(to_string, value)) + ']'
    if isinstance(value, dict):
        return '{' + ', '.join(f'{key}={to_string(item)}' for key, item in value.items()) + '}'
    return str(value)


def flags(text):
    return re.I if 'i' in text else 0


def java_replacement(text):
    """$1 becomes \\1."""
    return re.sub(r'\$(\d)', r'\\\1', text)


for _name, _function in {
        'String': lambda value: to_string(value),
        'String.cat': operator.add,
        'String.compareTo': lambda left, right: (left > right) - (left < right),
        'String.equals': operator.eq,
        'String.index': lambda text, pattern: text.find(pattern),
        'String.rindex': lambda text, pattern: text.rfind(pattern),
        'String.length': len,
        'String.slice': lambda text, start, end: text[int(start):None if end is None else int(end)],
        'String.split': lambda text, regex, how: re.split(regex, text, flags=flags(how)),
        'String.replace': lambda text, regex, new, how: re.sub(
            regex, java_replacement(new), text, count='g' not in how, flags=flags(how)),
        'String.match': lambda text, regex, how: (
            re.findall(regex, text, flags(how)) if 'g' in how
            else (lambda found: [found[0], *found.groups()] if found else [])(
                re.search(regex, text, flags(how)))),
        'String.toLowerCase': str.lower,
        'String.toUpperCase': str.upper,
        'String.trim': str.strip,
        'String.decodeJSON': json.loads,
        'String.encodeJSON': json.dumps,
        'IsEqual': operator.eq}.items():
    algorithm(_name)(_function)


# ---------------------------------------------------------------- lists, dictionaries

def distinct(values, key=lambda value: value):
    """The first of each kind."""
    found = {}
    for value in values:
        found.setdefault(repr(key(value)), value)
    return list(found.values())


def get_item(items, index):
    index = int(index)
    if not -len(items) <= index < len(items):
        raise EEError(f'List.get: List index must be between 0 and {len(items) - 1}, or -1 and '
                      f'{-len(items)}. Found {index}.')
    return items[index]


def flatten(items):
    return [part for item in items
            for part in (flatten(item) if isinstance(item, list) else [item])]


@algorithm('List.sequence')
def sequence(start, end, step, count):
    if count is not None:
        step = step if end is None else (end - start) / max(count - 1, 1)
        return [start + step * n for n in range(int(count))]
    return [start + step * n for n in range(math.floor((end - start) / step + 1e-9) + 1)]


@algorithm('List.map')
def map_list(items, function, drop_nulls):
    results = [function(item) for item in items]
    return [result for result in results if result is not None] if drop_nulls else results


@algorithm('List.sort')
def sort_list(items, keys):
    if keys is None:
        return sorted(items)
    return [item for _, item in sorted(zip(keys, items), key=lambda pair: pair[0])]


@algorithm('List.reduce')
def reduce_list(items, reducer):
    columns = [items] if reducer.inputs == 1 else [list(column) for column in zip(*items)]
    result = reducer.rows([[value for value in column if value is not None] for column in columns])
    return result[0] if len(result) == 1 else dict(zip(reducer.outputs, result))


def iterate(items, function, first):
    return functools.reduce(lambda state, item: function(item, state), items, first)


def changed(items, index, *values, drop=1):
    """A copy of a list with some values in the place of others."""
    index = int(index) % len(items) if index < 0 else int(index)
    return items[:index] + list(values) + items[index + drop:]


def pick(items, names, ignore_missing):
    """A dictionary of some of the keys of another."""
    missing = [name for name in names if name not in items]
    if missing and not ignore_missing:
        raise EEError(f": Dictionary does not contain key: '{missing[0]}'.")
    return {name: items[name] for name in names if name in items}


@algorithm('Dictionary.get', 'Dictionary.getNumber', 'Dictionary.getString',
           'Dictionary.getGeometry')
def get_entry(items, key, default=None):
    if key not in items and default is None:
        raise EEError(f": Dictionary does not contain key: '{key}'.")
    return items.get(key, default)


@algorithm('Dictionary')
def make_dictionary(value):
    if isinstance(value, list):
        return dict(zip(value[::2], value[1::2]))
    return value.properties if isinstance(value, Feature) else value or {}


for _name, _function in {
        'List.add': lambda items, item: [*items, item],
        'List.cat': operator.add,
        'List.contains': operator.contains,
        'List.containsAll': lambda items, other: all(item in items for item in other),
        'List.distinct': distinct,
        'List.equals': operator.eq,
        'List.filter': lambda items, test: [item for item in items if test.test(
            Feature(None, {'item': item}))],
        'List.flatten': flatten,
        'List.frequency': lambda items, item: items.count(item),
        'List.get': get_item, 'List.getNumber': get_item, 'List.getString': get_item,
        'List.getGeometry': get_item,
        'List.indexOf': lambda items, item: items.index(item) if item in items else -1,
        'List.insert': lambda items, index, item: changed(items, index, item, drop=0),
        'List.iterate': iterate,
        'List.join': lambda items, separator: separator.join(map(to_string, items)),
        'List.length': len, 'List.size': len,
        'List.remove': lambda items, item: (
            changed(items, items.index(item)) if item in items else items),
        'List.removeAll': lambda items, other: [item for item in items if item not in other],
        'List.repeat': lambda value, count: [value] * int(count),
        'List.replaceAll': lambda items, old, new: [new if item == old else item for item in items],
        'List.reverse': lambda items: items[::-1],
        'List.set': lambda items, index, item: changed(items, index, item),
        'List.shuffle': lambda items, seed: [items[i] for i in np.random.default_rng(
            int(seed or 0)).permutation(len(items))],
        'List.slice': lambda items, start, end, step: items[slice(
            *(None if part is None else int(part) for part in (start, end, step)))],
        'List.unzip': lambda items: [list(column) for column in zip(*items)],
        'List.zip': lambda items, other: [list(pair) for pair in zip(items, other)],
        'Dictionary.combine': lambda first, second, overwrite: (
            {**first, **second} if overwrite else {**second, **first}),
        'Dictionary.contains': operator.contains,
        'Dictionary.fromLists': lambda keys, values: dict(zip(keys, values)),
        'Dictionary.keys': sorted,
        'Dictionary.map': lambda items, function: {
            key: function(key, item) for key, item in items.items()},
        'Dictionary.remove': lambda items, names, ignore: {
            key: item for key, item in items.items() if key not in names},
        'Dictionary.rename': lambda items, old, new, overwrite: {
            dict(zip(old, new)).get(key, key): item for key, item in items.items()},
        'Dictionary.select': pick,
        'Dictionary.set': lambda items, key, value: {**items, key: value},
        'Dictionary.size': len,
        'Dictionary.values': lambda items, names: [
            items[name] for name in (sorted(items) if names is None else names)]}.items():
    algorithm(_name)(_function)


# ---------------------------------------------------------------- dates

@algorithm('Date')
def make_date(value, zone):
    return parse_date(value, zone) if isinstance(value, str) else as_date(value)


@algorithm('Date.advance')
def advance(date, delta, unit, zone):
    unit = unit.lower().rstrip('s')
    if unit in UNITS:
        return Date(date.value + int(delta * UNITS[unit]))
    moment = clock(date.value, zone)
    months = moment.year * 12 + moment.month - 1 + int(delta) * {'year': 12, 'month': 1}[unit]
    year, month = divmod(months, 12)
    last = (datetime.date(year + month // 11, (month + 1) % 12 + 1, 1)
            - datetime.timedelta(days=1)).day
    return moment_to_date(moment.replace(year=year, month=month + 1, day=min(moment.day, last)))


def moment_to_date(moment):
    return Date(round(moment.timestamp() * 1000))


@algorithm('Date.difference')
def difference(date, start, unit):
    """In units of a date; a year has 365.2425 days on average."""
    return (date.value - as_date(start).value) / unit_length(unit)


def unit_length(unit):
    year = 365.2425 * UNITS['day']
    return {**UNITS, 'year': year, 'month': year / 12}[unit.lower().rstrip('s')]


@algorithm('Date.get')
def date_part(date, unit, zone):
    return getattr(clock(date.value, zone), unit)


@algorithm('Date.getRelative')
def relative(date, unit, within, zone):
    """Counts from 0."""
    moment = clock(date.value, zone)
    if unit == 'day' and within == 'year':
        return moment.timetuple().tm_yday - 1
    return getattr(moment, unit) - (unit in ('day', 'month'))


@algorithm('Date.getRange')
def date_range_around(date, unit, zone):
    moment = clock(date.value, zone)
    parts = ('year', 'month', 'day', 'hour', 'minute', 'second')
    first = {'month': 1, 'day': 1}
    cleared = {part: first.get(part, 0) for part in parts[parts.index(unit) + 1:]}
    start = moment_to_date(moment.replace(microsecond=0, **cleared))
    return DateRange(start.value, advance(start, 1, unit, zone).value)


@algorithm('Date.update')
def update_date(date, *parts):
    names = ('year', 'month', 'day', 'hour', 'minute', 'second')
    changes = {name: int(part) for name, part in zip(names, parts) if part is not None}
    return moment_to_date(clock(date.value, parts[6]).replace(**changes))


@algorithm('DateRange')
def make_range(start, end, zone):
    """Without an end, a millisecond."""
    start = make_date(start, zone).value
    return DateRange(start, start + 1 if end is None else make_date(end, zone).value)


for _name, _function in {
        'Date.format': lambda date, pattern, zone: format_date(date.value, pattern, zone),
        'Date.fromYMD': lambda year, month, day, zone: parse_date(
            f'{int(year):04}-{int(month):02}-{int(day):02}', zone),
        'Date.millis': lambda date: date.value,
        'Date.getFraction': lambda date, unit, zone: (
            lambda span: (date.value - span.start) / (span.end - span.start))(
                date_range_around(date, unit, zone)),
        'DateRange.start': lambda dates: Date(dates.start),
        'DateRange.end': lambda dates: Date(dates.end),
        'DateRange.contains': lambda dates, other: (
            dates.start <= as_date(other).value < dates.end),
        'DateRange.isEmpty': lambda dates: dates.end <= dates.start}.items():
    algorithm(_name)(_function)


# ---------------------------------------------------------------- filters

def comparable(value):
    return value.value if isinstance(value, Date) else value


def make_filter(test, needs_both=True):
    """An algorithm that makes a Filter of a test of two values; one is null if it is missing."""
    def make(left_field, right_value, right_field, left_value, *_):
        def passes(element):
            left = comparable(element.get(left_field) if left_field else left_value)
            right = comparable(element.get(right_field) if right_field else right_value)
            return (not needs_both or left is not None and right is not None) and test(left, right)
        return Filter(passes)
    return make


def ordered(compare):
    """A comparison that is false for a number and a string."""
    def test(left, right):
        try:
            return compare(left, right)
        except TypeError:
            return False
    return test


for _names, _test in {
        ('eq', 'equals'): operator.eq, ('lt', 'lessThan'): ordered(operator.lt),
        ('lte', 'lessThanOrEquals'): ordered(operator.le),
        ('gt', 'greaterThan'): ordered(operator.gt),
        ('gte', 'greaterThanOrEquals'): ordered(operator.ge),
        ('inList',): lambda left, right: left in right,
        ('listContains',): lambda left, right: isinstance(left, list) and right in left,
        ('stringStartsWith',): lambda left, right: isinstance(left, str) and left.startswith(right),
        ('stringEndsWith',): lambda left, right: isinstance(left, str) and left.endswith(right),
        ('stringContains',): lambda left, right: isinstance(left, str) and right in left}.items():
    algorithm(*(f'Filter.{name}' for name in _names))(make_filter(_test))
algorithm('Filter.neq', 'Filter.notEquals')(make_filter(operator.ne, needs_both=False))


@algorithm('Filter.dateRangeContains')
def filter_dates(left_field, right_value, right_field, left_value):
    """Elements with a time, in ms, in a range of dates."""
    if left_field:
        raise EEError('Filter.dateRangeContains: The stand-in wants a range as leftValue.')
    start, end = left_value

    def passes(element):
        time = comparable(element.get(right_field))
        return time is not None and start <= time < end
    return Filter(passes, start=start, end=end)


def filter_shapes(test):
    """An algorithm that makes a Filter of a test of two shapes, in degrees."""
    def make(left_field, right_value, right_field, left_value, *_):
        region = as_geometry(right_value if left_value is None else left_value).degrees()
        shapely.prepare(region)

        def passes(element):
            shape = element.shape()
            if shape is None:
                return element.images  # an image without footprint is everywhere
            return bool(test(shape, region) if left_field else test(region, shape))
        return Filter(passes, box=None if region.is_empty else region.bounds)
    return make


algorithm('Filter.intersects')(filter_shapes(lambda left, right: shapely.intersects(right, left)))
algorithm('Filter.contains')(filter_shapes(shapely.contains))
algorithm('Filter.isContained')(filter_shapes(shapely.within))


@algorithm('Filter.and')
def filter_and(filters):
    boxes = [part.box for part in filters if part.box]
    return Filter(lambda element: all(part.test(element) for part in filters),
                  boxes[0] if boxes else None,
                  max((part.start for part in filters if part.start is not None), default=None),
                  min((part.end for part in filters if part.end is not None), default=None))


@algorithm('Filter.calendarRange')
def filter_calendar(start, end, field):
    """Both ends are included, and a range may go over the end of the year."""
    end = start if end is None else end
    part = {'day_of_year': lambda moment: moment.timetuple().tm_yday,
            'day_of_month': operator.attrgetter('day'), 'month': operator.attrgetter('month'),
            'year': operator.attrgetter('year'), 'hour': operator.attrgetter('hour'),
            'day_of_week': lambda moment: moment.isoweekday()}[field]

    def passes(element):
        time = element.get('system:time_start')
        if time is None:
            return False
        value = part(clock(time, None))
        return start <= value <= end if start <= end else value >= start or value <= end
    return Filter(passes)


for _name, _function in {
        'or': lambda filters: Filter(lambda item: any(part.test(item) for part in filters)),
        'not': lambda negated: Filter(lambda item: not negated.test(item)),
        'always': lambda: Filter(lambda item: True), 'never': lambda: Filter(lambda item: False),
        'hasGeometry': lambda: Filter(lambda item: item.geometry is not None),
        'notNull': lambda names: Filter(
            lambda item: all(item.get(name) is not None for name in names)),
        'dayOfYear': lambda start, end: filter_calendar(start, end, 'day_of_year'),
        'rangeContains': lambda field, low, high: Filter(
            lambda item: item.get(field) is not None and low <= item.get(field) <= high)}.items():
    algorithm(f'Filter.{_name}')(_function)


# ---------------------------------------------------------------- projections, geometries

algorithm('ErrorMargin')(lambda value, unit: value)


@algorithm('Projection', 'Proj')
def make_projection(crs, transform, wkt):
    if wkt:
        raise EEError('Projection: The stand-in knows no transformWkt.')
    return as_projection(crs)._replace(transform=tuple(transform or WGS84.transform))


for _name, _function in {
        'atScale': Projection.at_scale, 'nominalScale': Projection.scale,
        'crs': operator.attrgetter('crs'), 'wkt': lambda projection: projection.crs,
        'transform': lambda projection: 'PARAM_MT["Affine", ' + ', '.join(
            f'PARAMETER["elt_{n // 3}_{n % 3}", {value}]' for n, value in enumerate(
                projection.transform)) + ']',
        'scale': lambda projection, x, y: projection._replace(transform=tuple(
            value * (x, y, 1)[n % 3] for n, value in enumerate(projection.transform))),
        'translate': lambda projection, x, y: projection._replace(transform=(
            *projection.transform[:2], forward(projection.transform, x, y)[0],
            *projection.transform[3:5], forward(projection.transform, x, y)[1]))}.items():
    algorithm(f'Projection.{_name}')(_function)


def numbers_in(coordinates):
    """Pairs of all numbers in nested lists, points included."""
    if isinstance(coordinates, Geometry):
        return list(coordinates.shape.coords)
    if all(isinstance(part, (int, float)) for part in coordinates):
        return list(zip(coordinates[::2], coordinates[1::2]))
    return [pair for part in coordinates for pair in numbers_in(part)]


def depth(coordinates):
    return 1 + depth(coordinates[0]) if isinstance(coordinates, list) and coordinates else 0


def polygon(coordinates):
    rings = [coordinates] if depth(coordinates) < 3 else coordinates
    shell, *holes = [numbers_in(ring) for ring in rings]
    return shapely.Polygon(shell, holes)


SHAPES = {
    'Point': lambda parts: shapely.Point(*numbers_in(parts)[0]),
    'MultiPoint': lambda parts: shapely.MultiPoint(numbers_in(parts)),
    'LineString': lambda parts: shapely.LineString(numbers_in(parts)),
    'LinearRing': lambda parts: shapely.LinearRing(numbers_in(parts)),
    'MultiLineString': lambda parts: shapely.MultiLineString([numbers_in(part) for part in parts]),
    'Rectangle': lambda parts: rectangle(*numbers_in(parts)[0], *numbers_in(parts)[-1]),
    'Polygon': polygon,
    'MultiPolygon': lambda parts: shapely.union_all([polygon(part) for part in parts])}


def rectangle(west, south, east, north):
    """With the corners in the order of Earth Engine."""
    return shapely.Polygon([(west, south), (east, south), (east, north), (west, north)])


def make_shape(kind):
    def make(coordinates, crs, geodesic=None, *_):
        shape = SHAPES[kind](coordinates)
        if not shape.is_valid:
            shape = shapely.make_valid(shape)
        projection = crs or WGS84
        return Geometry(shape, projection, projection == WGS84 if geodesic is None else geodesic)
    return make


for _kind in SHAPES:
    algorithm(f'GeometryConstructors.{_kind}')(make_shape(_kind))
algorithm('GeometryConstructors.BBox')(lambda *sides: Geometry(rectangle(*sides), WGS84, False))
algorithm('GeometryConstructors.MultiGeometry')(lambda parts, *_: Geometry(
    shapely.GeometryCollection([as_geometry(part).degrees() for part in parts])))


def at_home(geometry):
    """A projection in metres around a geometry, for what is to be measured in metres."""
    center = geometry.degrees().centroid
    return Projection(f'+proj=aeqd +datum=WGS84 +lon_0={center.x:.9f} +lat_0={center.y:.9f}')


@algorithm('Geometry.buffer')
def buffer(geometry, distance, error, projection):
    """By metres, or by units of a projection."""
    working = projection or at_home(geometry)
    wide = Geometry(geometry.to(working).buffer(distance, quad_segs=8), working)
    return wide if projection else Geometry(wide.degrees())


@algorithm('Geometry.bounds')
def bounds(geometry, error, projection):
    projection = projection or WGS84
    return Geometry(rectangle(*geometry.to(projection).bounds), projection, False)


@algorithm('Geometry.transform')
def transform_geometry(geometry, projection, error, geodesic):
    return Geometry(geometry.to(projection), projection, geometry.geodesic)


@algorithm('Geometry.simplify')
def simplify(geometry, error, projection):
    working = projection or at_home(geometry)
    return Geometry(Geometry(geometry.to(working).simplify(error), working).degrees())


def measured(measure):
    """An algorithm that measures in metres, or in units of a projection."""
    def compute(geometry, error, projection):
        if projection:
            return getattr(geometry.to(projection), measure)
        area, length = GEOD.geometry_area_perimeter(geometry.degrees())
        return abs(area) if measure == 'area' else abs(length)
    return compute


@algorithm('Geometry.distance')
def distance(left, right, error, projection, spherical):
    working = projection or at_home(left)
    return left.to(working).distance(right.to(working))


def joined(operation):
    """An algorithm that makes a geometry of two, in degrees or in a projection."""
    def compute(left, right, error, projection):
        working = projection or left.projection
        return Geometry(operation(left.to(working), right.to(working)), working, left.geodesic)
    return compute


def related(test):
    return lambda left, right, error, projection: bool(test(left.degrees(), right.degrees()))


for _name, _function in {
        'area': measured('area'), 'length': measured('length'), 'perimeter': measured('length'),
        'centroid': lambda geometry, error, projection: Geometry(
            geometry.to(projection or WGS84).centroid, projection or WGS84),
        'convexHull': lambda geometry, error, projection: Geometry(
            geometry.to(projection or WGS84).convex_hull, projection or WGS84),
        'dissolve': lambda geometry, error, projection: Geometry(
            shapely.union_all([geometry.shape]), geometry.projection, geometry.geodesic),
        'intersection': joined(shapely.intersection), 'union': joined(shapely.union),
        'difference': joined(shapely.difference),
        'symmetricDifference': joined(shapely.symmetric_difference),
        'intersects': related(shapely.intersects), 'disjoint': related(shapely.disjoint),
        'contains': related(shapely.contains), 'containedIn': related(shapely.within),
        'withinDistance': lambda left, right, limit, error, projection: distance(
            left, right, error, projection, False) <= limit,
        }.items():
    algorithm(f'Geometry.{_name}')(_function)

    def _of_feature(feature, *rest, function=_function):
        value = function(as_geometry(feature), *(
            as_geometry(part) if isinstance(part, Feature) else part for part in rest))
        return feature.replace(geometry=value) if isinstance(value, Geometry) else value
    algorithm(f'Feature.{_name}')(_of_feature)
for _function in buffer, bounds, simplify:
    algorithm(f'Feature.{_function.__name__}')(
        lambda feature, *rest, function=_function: feature.replace(
            geometry=function(as_geometry(feature), *rest)))
algorithm('Feature.transform')(lambda feature, *rest: feature.replace(
    geometry=transform_geometry(as_geometry(feature), *rest)))

for _name, _function in {
        'coordinates': lambda geometry: listed(shapely.geometry.mapping(geometry.shape).get(
            'coordinates', [])),
        'geodesic': lambda geometry: geometry.geodesic,
        'geometries': lambda geometry: [Geometry(part, geometry.projection, geometry.geodesic)
                                        for part in shapely.get_parts(geometry.shape)],
        'isUnbounded': lambda geometry: False,
        'projection': lambda geometry: geometry.projection,
        'type': lambda geometry: geometry.shape.geom_type}.items():
    algorithm(f'Geometry.{_name}')(_function)


def listed(value):
    """Lists of nested tuples."""
    return [listed(part) for part in value] if isinstance(value, (list, tuple)) else value


# ---------------------------------------------------------------- features

@algorithm('Feature')
def make_feature(geometry, properties, key):
    if isinstance(geometry, Feature):
        return geometry
    return Feature(geometry, {}).set(properties or {})


def numeric(name, value, kinds):
    if value is not None and not isinstance(value, kinds):
        raise EEError(f"{name}: The property isn't a {name[11:]}.")
    return value


def copy_properties(destination, source, names, exclude):
    if source is None:
        return destination
    names = [name for name in source.properties if not name.startswith('system:')
             ] if names is None else names
    return destination.set({name: source.get(name) for name in names
                            if name not in (exclude or ()) and source.get(name) is not None})


@algorithm('Feature.select')
def select_properties(feature, selectors, new_names, keep_geometry):
    chosen = [name for selector in selectors for name in feature.properties
              if name == selector or re.fullmatch(selector, name)]
    names = new_names or chosen
    return feature.replace(properties={new: feature.properties[old]
                                       for old, new in zip(chosen, names)},
                           geometry=feature.geometry if keep_geometry else None)


for _name, _function in {
        'Element.get': lambda element, name: element.get(name),
        'Element.getNumber': lambda element, name: numeric('Element.getNumber', element.get(name),
                                                           (int, float)),
        'Element.getString': lambda element, name: numeric('Element.getString', element.get(name),
                                                           str),
        'Element.set': lambda element, name, value: element.set({name: value}),
        'Element.setMulti': lambda element, values: element.set(values),
        'Element.propertyNames': lambda element: [*element.properties, 'system:index'],
        'Element.toDictionary': lambda element, names: {
            name: element.get(name) for name in (
                [name for name in element.properties if not name.startswith('system:')]
                if names is None else names) if element.get(name) is not None},
        'Element.copyProperties': copy_properties, 'Image.copyProperties': copy_properties,
        'Element.geometry': lambda element, *_: as_geometry(element),
        'Feature.geometry': lambda element, *_: as_geometry(element),
        'Image.geometry': lambda element, *_: as_geometry(element),
        'Feature.setGeometry': lambda element, geometry: element.replace(geometry=geometry),
        'Feature.id': lambda element: element.index,
        'Image.id': lambda element: element.asset or element.index}.items():
    algorithm(_name)(_function)


# ---------------------------------------------------------------- collections

def find_asset(kind, table, name):
    if name not in table:
        raise EEError(f"{kind}.load: {kind} asset '{name}' not found (does not exist or caller "
                      'does not have access).', 404)
    return table[name]


@algorithm('Collection.loadTable')
def load_table(name, *_):
    if name not in datasets.TABLES:
        raise EEError(f"Collection.loadTable: Collection asset '{name}' not found (does not exist "
                      'or caller does not have access).', 404)
    return collect(table_features(name), False)


@functools.lru_cache(maxsize=None)
def table_features(name):
    return [Feature(Geometry(shape), properties, index)
            for index, properties, shape in datasets.TABLES[name]()]


algorithm('Collection')(collection_of)


@algorithm('Collection.filter')
def filter_collection(collection, condition):
    def load(hints):
        return [element for element in collection.elements((condition, *hints))
                if condition.test(element)]
    return Collection(load, collection.images)


@algorithm('Collection.map')
def map_collection(collection, function, drop_nulls):
    def apply(element):
        try:
            result = function(element)
        except EEError as error:
            raise EEError(f'Error in map(ID={element.index}):\n{error}', error.status) from None
        if isinstance(result, Feature):
            return result if result.index == element.index else result.replace(index=element.index)
        if result is None and drop_nulls:
            return None
        if isinstance(result, Collection):  # for flatten()
            result.index = element.index
            return result
        raise EEError('Collection.map: A mapped algorithm must return a Feature or Image.')

    def load(hints):
        elements = collection.elements(hints)
        if collection.images:
            refuse_work(len(elements))
        return [result for result in map(apply, elements) if result is not None]
    return Collection(load, collection.images)


def refuse_work(count):
    """Refuses to work on more images than the server was told to."""
    if BEHAVIOUR['max_images'] is not None and count > BEHAVIOUR['max_images']:
        raise EEError(BEHAVIOUR['max_images_text'])


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


@algorithm('Collection.first')
def first(collection):
    elements = collection.elements()
    return elements[0] if elements else None


@algorithm('Collection.flatten')
def flatten_collection(collection):
    """Each index is that of the inner collection and that of the element, with _ in between."""
    return collection.then(lambda elements: [
        item.replace(index=f'{inner.index}_{item.index}')
        for inner in elements for item in as_collection(inner).elements()], images=False)


@algorithm('Collection.merge', 'ImageCollection.merge')
def merge(left, right):
    return Collection(lambda hints: [
        item.replace(index=f'{number}_{item.index}')
        for number, part in enumerate((left, right), 1) for item in part.elements(hints)],
        left.images)


@algorithm('Collection.reduceColumns')
def reduce_columns(collection, reducer, selectors, weights):
    elements = collection.elements()
    refuse_long(len(elements), BEHAVIOUR['aggregate_limit'])
    if len(selectors) != reducer.inputs:
        raise EEError(f'Collection.reduceColumns: Need {reducer.inputs} input selectors, got '
                      f'{len(selectors)}.')
    rows = [[element.get(name) for name in selectors] for element in elements]
    needed = reducer.inputs - reducer.optional
    rows = [row for row in rows if all(value is not None for value in row[:needed])]
    columns = [list(column) for column in zip(*rows)] or [[] for _ in selectors]
    return dict(zip(reducer.outputs, reducer.rows(columns)))


def aggregate(function):
    """An algorithm on the values of a property, without nulls."""
    def compute(collection, name):
        elements = collection.elements()
        refuse_long(len(elements), BEHAVIOUR['aggregate_limit'])
        values = [element.get(name) for element in elements]
        return function([value for value in values if value is not None])
    return compute


def count_values(values):
    """{value as a string: how often}"""
    keys = [to_string(value) for value in values]
    return {key: keys.count(key) for key in sorted(set(keys))}


for _name, _function in {
        'array': list, 'first': lambda values: values[0] if values else None,
        'count': len, 'count_distinct': lambda values: len(distinct(values)),
        'min': lambda values: min(values, default=None),
        'max': lambda values: max(values, default=None),
        'mean': lambda values: plain(np.mean(values)) if values else None,
        'sum': sum, 'product': math.prod, 'histogram': count_values,
        'total_sd': lambda values: plain(np.std(values)),
        'total_var': lambda values: plain(np.var(values)),
        'sample_sd': lambda values: plain(np.std(values, ddof=1)),
        'sample_var': lambda values: plain(np.var(values, ddof=1)),
        'stats': lambda values: {
            'min': min(values), 'max': max(values), 'mean': plain(np.mean(values)),
            'sum': sum(values), 'valid_count': len(values), 'total_count': len(values),
            'total_sd': plain(np.std(values)), 'total_var': plain(np.var(values)),
            'sample_sd': plain(np.std(values, ddof=1)), 'sample_var': plain(np.var(values, ddof=1)),
            'sum_sq': sum(value**2 for value in values)}}.items():
    algorithm(f'AggregateFeatureCollection.{_name}')(aggregate(_function))


@algorithm('Collection.randomColumn')
def random_column(collection, name, seed, distribution, keys):
    def add(elements):
        dice = np.random.default_rng(int(seed))
        draw = dice.random if distribution == 'uniform' else dice.standard_normal
        return [element.set({name: draw()}) for element in elements]
    return collection.then(add)


@algorithm('FeatureCollection.randomPoints')
def random_points(region, count, seed, error):
    """Uniform on the sphere."""
    shape, dice, found = region.degrees(), np.random.default_rng(int(seed)), []
    west, south, east, north = shape.bounds
    shapely.prepare(shape)
    while len(found) < count:
        lon = dice.uniform(west, east, 4 * int(count))
        heights = np.sin(np.radians([south, north]))
        lat = np.degrees(np.arcsin(dice.uniform(*heights, lon.size)))
        inside = shapely.contains_xy(shape, lon, lat)
        found += list(zip(lon[inside].tolist(), lat[inside].tolist()))
    return collect([Feature(Geometry(shapely.Point(place)), {}, str(number))
                    for number, place in enumerate(found[:int(count)])], False)


def distinct_elements(collection, properties):
    names = [properties] if isinstance(properties, str) else properties

    def key(element):
        return [value.key if isinstance(value, Geometry) else value
                for value in map(element.get, names)]
    return collection.then(lambda elements: distinct(elements, key))


for _name, _function in {
        'Collection.size': lambda collection: len(collection.elements()),
        'Collection.toList': lambda collection, count, offset: collection.elements()[
            int(offset):int(offset) + int(count)],
        'Collection.distinct': distinct_elements,
        'Collection.geometry': lambda collection, error: collection.region,
        'Collection.bounds': lambda collection, error, projection: bounds(
            collection.region, error, projection),
        'Collection.union': lambda collection, error: collect(
            [Feature(collection.region, {}, '0')], False),
        'Collection.iterate': lambda collection, function, start: iterate(
            collection.elements(), function, start),
        'Collection.remap': lambda collection, old, new, name: collection.then(lambda elements: [
            item.set({name: dict(zip(old, new))[item.get(name)]})
            for item in elements if item.get(name) in old])}.items():
    algorithm(_name)(_function)
