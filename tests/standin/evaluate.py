"""Evaluates the expression graph that the Earth Engine client sends, on the synthetic datasets.

Nodes of the graph become Python functions. What doesn't depend on the argument of a mapped function
is computed once in a request.
"""
import inspect
import json

import numpy as np
import shapely

import reducers  # noqa: F401; it imports the modules that register what they know
from sentences import say, say_of_caller
from service import client_file
from values import (ALGORITHMS, CASTS, WGS84, Collection, Date, EEError, Feature, Geometry, Image,
                    Projection, refuse_long)

LISTED = {item['name'].removeprefix('algorithms/'): item
          for item in json.loads(client_file('algorithms.json'))['algorithms']}
SIGNATURES = {name: item.get('arguments', []) for name, item in LISTED.items()}
IGNORED = {  # arguments that change nothing here: geometries are exact, and regions unweighted
    'maxError', 'maxErrorMeters', 'error', 'geodesic', 'geodesics', 'evenOdd', 'spherical',
    'tileScale', 'parallelScale', 'proj', 'flags', 'unit'}


class Scope:
    """The arguments of a function call and what was computed with them; outer encloses it."""

    def __init__(self, arguments, outer=None):
        self.arguments, self.outer, self.memo = arguments, outer, {}

    def find(self, name):
        """The value of an argument."""
        return self.arguments[name] if name in self.arguments else self.outer.find(name)


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
        """node() of the node with this key."""
        if key not in self.done:
            self.done[key] = self.node(self.values[key])
        return self.done[key]

    def node(self, node):
        """(function of a Scope, names of the arguments that it depends on)."""
        (kind, content), = node.items()
        if kind == 'valueReference':
            return self.reference(content)
        if kind == 'argumentReference':
            return lambda scope: scope.find(content), {content}
        if kind == 'functionDefinitionValue':
            body, free = self.reference(content['body'])
            names = content.get('argumentNames', [])
            return lambda scope: Function(names, body, scope), free - set(names)
        if kind == 'functionInvocationValue':
            return self.invocation(content)
        if kind == 'arrayValue':
            parts, free = self.nodes(dict(enumerate(content.get('values', []))))
            return lambda scope: [part(scope) for part in parts.values()], free
        if kind == 'dictionaryValue':
            parts, free = self.nodes(content.get('values', {}))
            return lambda scope: {name: part(scope) for name, part in parts.items()}, free
        if kind not in ('constantValue', 'integerValue'):
            raise EEError(say('lacks', what=kind))
        value = int(content) if kind == 'integerValue' else content
        return lambda scope: value, set()

    def nodes(self, nodes):
        """node() of some nodes, {name: node}, together."""
        parts = {name: self.node(node) for name, node in nodes.items()}
        return ({name: part for name, (part, _) in parts.items()},
                set().union(*(free for _, free in parts.values())))

    def invocation(self, content):
        """node() of a call."""
        parts, free = self.nodes(content.get('arguments', {}))
        if 'functionReference' in content:  # a function that is computed: Image.parseExpression
            function, more = self.reference(content['functionReference'])

            def call(scope):
                called = function(scope)
                return called(*(parts[name](scope) for name in called.names))
            return remembered(call, free | more), free | more
        name = content['functionName']
        if name == 'If':  # evaluates one of its cases only
            def choose(scope):
                part = parts.get('trueCase' if parts['condition'](scope) else 'falseCase')
                return part and part(scope)
            return choose, free
        if name not in ALGORITHMS:
            raise EEError(say('lacks', what=f'function {name}'))
        return remembered(prepare(name, parts), free), free


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


def count_arguments(function):
    """How many arguments a function takes; None if that is as many as it gets."""
    try:
        kinds = [part.kind for part in inspect.signature(function).parameters.values()]
    except ValueError:  # some built-in functions don't tell
        return None
    return None if inspect.Parameter.VAR_POSITIONAL in kinds else (
        len(kinds) - kinds.count(inspect.Parameter.KEYWORD_ONLY))


def prepare(name, parts):
    """The call of an algorithm as a function of a Scope: arguments in order, checked and cast."""
    function, arguments = ALGORITHMS[name], []
    taken = count_arguments(function)
    for number, argument in enumerate(SIGNATURES[name]):
        label, default = argument['argumentName'], argument.get('defaultValue')
        if taken is None or number < taken:
            part = parts.get(label, lambda scope, default=default: default)
            arguments.append((part, CASTS.get(argument['type'], lambda value: value),
                              None if argument.get('optional') else label))
        elif label in parts and label not in IGNORED:
            raise EEError(say('lacks_of', algorithm=name, what=f"argument '{label}'"))

    def call(scope):
        values = []
        try:
            for part, cast, required in arguments:
                value = part(scope)
                if value is None and required:
                    raise EEError(say_of_caller('required', name=required))
                values.append(None if value is None else cast(value))
            return function(*values)
        except EEError as error:
            raise EEError(name * str(error).startswith(':') + str(error), error.status) from None
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError,
                shapely.errors.ShapelyError) as error:
            text = f'{type(error).__name__}: {error}'
            raise EEError(say('broke', algorithm=name, error=text)) from error
    return call


def evaluate(expression):
    """The value of an expression, {'result': key, 'values': {key: node}}."""
    try:
        return Graph(expression).reference(expression['result'])[0](Scope({}))
    except RecursionError:
        raise EEError(say('deep')) from None


def known():
    """What is listed of the functions that can be evaluated."""
    return [item for name, item in LISTED.items() if name in {'If', *ALGORITHMS}]


# what value:compute answers

def to_json(value):
    """The JSON of a value, as getInfo() returns it."""
    if value is None or isinstance(value, (bool, str)):
        return value
    for kind, convert in CONVERTERS.items():
        if isinstance(value, kind):
            return convert(value)
    raise EEError(say('lacks', what=f'JSON of a {type(value).__name__}'))


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
    """GeoJSON."""
    return {'type': 'Feature', 'geometry': to_json(feature.geometry), 'id': feature.index,
            'properties': to_json(feature.properties)}


def image_to_json(image):
    """Bands and properties."""
    return {'type': 'Image', 'id': image.asset, 'bands': [{
                'id': band.name, 'data_type': {'type': 'PixelType', **band.type._asdict()},
                'crs': band.projection.crs, 'crs_transform': to_json(band.projection.transform)}
                for band in image.bands],
            'properties': to_json({**image.properties, 'system:index': image.index})}


def collection_to_json(collection):
    """All elements, if they are not too many."""
    elements = collection.elements()
    refuse_long(len(elements))
    return {'type': 'FeatureCollection', 'features': [to_json(element) for element in elements]}


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
