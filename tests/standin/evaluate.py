"""Evaluates the expression graph that the Earth Engine client sends, on the synthetic datasets.

Nodes of the graph become Python functions. What doesn't depend on the argument of a mapped function
is computed once in a request.
"""
import functools
import importlib.util
import inspect
import json
import pathlib

import numpy as np
import shapely

import reducers  # noqa: F401; it imports the modules that register what they know
from values import (ALGORITHMS, BEHAVIOUR, CASTS, WGS84, Collection, Date, EEError, Feature,
                    Geometry, Image, Projection, refuse_long)

__all__ = 'BEHAVIOUR', 'EEError', 'evaluate', 'to_json'


def read_signatures():
    """{name: [argument, ...]} of all algorithms, from the tests of the installed client."""
    folder = pathlib.Path(importlib.util.find_spec('ee').origin).parent
    text = (folder / 'tests' / 'algorithms.json').read_text(encoding='utf-8')
    return {item['name'].removeprefix('algorithms/'): item.get('arguments', [])
            for item in json.loads(text)['algorithms']}


SIGNATURES = read_signatures()


class Scope:
    """The arguments of a function call and what was computed with them; outer encloses it."""
    __slots__ = 'arguments', 'outer', 'memo'

    def __init__(self, arguments, outer):
        self.arguments, self.outer, self.memo = arguments, outer, {}


class Function:
    """A function of the graph."""

    def __init__(self, names, body, scope):
        self.names, self.body, self.scope = names, body, scope

    def __call__(self, *values):
        return self.body(Scope(dict(zip(self.names, values)), self.scope))


class Graph:
    """Turns the nodes of an expression into Python functions of a Scope."""

    def __init__(self, expression):
        self.values, self.done = expression['values'], {}

    def reference(self, key):
        if key not in self.done:
            self.done[key] = self.node(self.values[key])
        return self.done[key]

    def node(self, node):
        """(function of a Scope, names of the arguments that it depends on)."""
        (kind, content), = node.items()
        if kind == 'valueReference':
            return self.reference(content)
        if kind == 'argumentReference':
            return functools.partial(find_argument, content), frozenset([content])
        if kind == 'functionDefinitionValue':
            body, free = self.reference(content['body'])
            names = content.get('argumentNames', [])
            return lambda scope: Function(names, body, scope), free - set(names)
        if kind == 'functionInvocationValue':
            return self.invocation(content)
        if kind == 'arrayValue':
            parts, free = self.nodes(content.get('values', []))
            return lambda scope: [part(scope) for part in parts], free
        if kind == 'dictionaryValue':
            parts, free = self.nodes(content.get('values', {}).values())
            names = list(content.get('values', {}))
            return lambda scope: dict(zip(names, [part(scope) for part in parts])), free
        if kind not in ('constantValue', 'integerValue'):
            raise EEError(f'The stand-in knows no {kind}.')
        value = int(content) if kind == 'integerValue' else content
        return lambda scope: value, frozenset()

    def nodes(self, nodes):
        parts = [self.node(node) for node in nodes]
        return [part for part, _ in parts], frozenset().union(*(free for _, free in parts))

    def invocation(self, content):
        given = content.get('arguments', {})
        parts, free = self.nodes(given.values())
        parts = dict(zip(given, parts))
        if 'functionReference' in content:  # a function that is computed: Image.parseExpression
            function, more = self.reference(content['functionReference'])
            free |= more

            def call(scope):
                called = function(scope)
                return called(*(parts[name](scope) for name in called.names))
            return remembered(call, free), free
        name = content['functionName']
        if name == 'If':
            return lambda scope: choose(parts, scope), free
        if name not in ALGORITHMS:
            raise EEError(f"Function '{name}' is not known to the stand-in.")
        return remembered(prepare(name, parts), free), free


def find_argument(name, scope):
    while name not in scope.arguments:
        scope = scope.outer
    return scope.arguments[name]


def choose(parts, scope):
    """The algorithm If, which evaluates one of its cases only."""
    part = parts.get('trueCase' if parts['condition'](scope) else 'falseCase')
    return part and part(scope)


def remembered(function, free):
    """The function, computed once in the innermost scope that has an argument it depends on."""
    key = object()

    def get(scope):
        while scope.outer and free.isdisjoint(scope.arguments):
            scope = scope.outer
        if key not in scope.memo:
            scope.memo[key] = function(scope)
        return scope.memo[key]
    return get


IGNORED = {  # arguments that change nothing here: geometries are exact, and regions unweighted
    'maxError', 'maxErrorMeters', 'error', 'geodesic', 'geodesics', 'evenOdd', 'spherical',
    'tileScale', 'parallelScale', 'proj', 'flags', 'unit'}


def count_arguments(function):
    """How many arguments a function takes."""
    try:
        kinds = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in functions don't tell
        return None
    return None if any(kind.kind == kind.VAR_POSITIONAL for kind in kinds) else sum(
        kind.kind != kind.KEYWORD_ONLY for kind in kinds)


def prepare(name, parts):
    """The call of an algorithm as a function of a Scope: arguments in order, checked and cast."""
    function, arguments = ALGORITHMS[name], []
    taken = count_arguments(function)
    for argument in SIGNATURES[name][taken:] if taken is not None else ():
        if argument['argumentName'] in set(parts) - IGNORED:
            raise EEError(f"{name}: The stand-in knows no argument '{argument['argumentName']}'.")
    for argument in SIGNATURES[name][:taken]:
        label, default = argument['argumentName'], argument.get('defaultValue')
        part = parts.get(label, lambda scope, default=default: default)
        cast = CASTS.get(argument['type'])
        arguments.append((part, cast, None if argument.get('optional') else label))

    def call(scope):
        values = []
        try:
            for part, cast, required in arguments:
                value = part(scope)
                if value is None and required:
                    raise EEError(f": Parameter '{required}' is required.")
                values.append(cast(value) if cast and value is not None else value)
            return function(*values)
        except EEError as error:
            if not str(error).startswith(':'):
                raise
            raise EEError(name + str(error), error.status) from None
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError,
                shapely.errors.ShapelyError) as error:
            raise EEError(f'{name}: {type(error).__name__}: {error}') from error
    return call


def evaluate(expression):
    """The value of an expression, {'result': key, 'values': {key: node}}."""
    try:
        run, _ = Graph(expression).reference(expression['result'])
        return run(Scope({}, None))
    except RecursionError:
        raise EEError('Expression evaluates to a graph that is too deep.') from None


# what value:compute answers

def to_json(value):
    """The JSON of a value, as getInfo() returns it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    for kind, convert in CONVERTERS.items():
        if isinstance(value, kind):
            return convert(value)
    raise EEError(f'The stand-in cannot send a {type(value).__name__}.')


def number_to_json(value):
    """Whole numbers lose their point, and JSON has no NaN."""
    if not np.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 2**53 else float(value)


def geometry_to_json(geometry):
    """GeoJSON, in the units of the geometry's own coordinate system."""
    projection = Projection(geometry.projection.crs)
    result = to_json(dict(shapely.geometry.mapping(geometry.to(projection))))
    if projection != WGS84:
        result['crs'] = {'type': 'name', 'properties': {'name': projection.crs}}
    return result


def feature_to_json(feature):
    result = {'type': 'Feature', 'geometry': to_json(feature.geometry),
              'properties': to_json(feature.properties)}
    return result if feature.index is None else {**result, 'id': feature.index}


def image_to_json(image):
    result = {'type': 'Image', 'bands': [{
        'id': band.name, 'data_type': type_to_json(band.type), 'crs': band.projection.crs,
        'crs_transform': to_json(band.projection.transform),
        **({'dimensions': list(band.size)} if band.size else {})} for band in image.bands]}
    if image.asset:
        result |= {'id': image.asset, 'version': 1}
    properties = {**image.properties, 'system:index': image.index,
                  'system:footprint': image.geometry}
    return {**result, 'properties': to_json({
        name: value for name, value in properties.items() if value is not None})}


def type_to_json(kind):
    limits = {} if kind.low is None else {'min': kind.low, 'max': kind.high}
    return {'type': 'PixelType', 'precision': kind.precision, **limits}


def collection_to_json(collection):
    elements = collection.elements()
    refuse_long(len(elements))
    features = [to_json(element) for element in elements]
    if elements[0].images if elements else collection.images:
        asset = {'id': collection.asset} if collection.asset else {}
        return {'type': 'ImageCollection', 'bands': [], **asset, 'features': features}
    names = sorted(elements[0].properties) if elements else []
    return {'type': 'FeatureCollection', 'columns': dict.fromkeys(names, 'Object'),
            'features': features}


CONVERTERS = {
    (int, float, np.number): number_to_json,
    dict: lambda value: {key: to_json(item) for key, item in value.items()},
    Geometry: geometry_to_json, Image: image_to_json, Feature: feature_to_json,
    Collection: collection_to_json,
    Projection: lambda projection: {'type': 'Projection', 'crs': projection.crs,
                                    'transform': to_json(projection.transform)},
    Date: lambda date: {'type': 'Date', 'value': date.value},
    (list, tuple): lambda value: [to_json(item) for item in value],
}
