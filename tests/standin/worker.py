"""Evaluation in processes of its own, so that the server stays quick while it computes."""

import json
import multiprocessing
import queue
import sys
import traceback

from wire import Answer, error


class Workers:
    """Some processes that evaluate; each has a pipe, and a job takes the first idle one."""

    def __init__(self, number):
        self.idle = queue.SimpleQueue()
        context = multiprocessing.get_context('spawn')
        for _ in range(number):
            ours, theirs = context.Pipe()
            context.Process(target=work, args=(theirs,), daemon=True).start()
            theirs.close()  # the worker ends when our end is closed, however that came about
            self.idle.put(ours)

    def run(self, job, body, behaviour):
        """The Answer to a job: a name in JOBS and the body of the request, as bytes."""
        pipe = self.idle.get()
        try:
            pipe.send((job, body, behaviour))
            return pipe.recv()
        finally:
            self.idle.put(pipe)


def work(pipe):
    """Answer the jobs that come through pipe until it is closed."""
    import evaluate  # takes a moment: only where it is needed
    usual = dict(evaluate.BEHAVIOUR)
    while True:
        try:
            job, body, behaviour = pipe.recv()
            evaluate.BEHAVIOUR.update({**usual, **behaviour})
            pipe.send(attempt(JOBS[job], body, evaluate.EEError))
        except (EOFError, BrokenPipeError):
            return


def attempt(job, body, refusal):
    """The Answer of job, or of the error in it."""
    try:
        return job(json.loads(body))
    except refusal as problem:
        return error(problem.status, str(problem))
    except Exception as problem:  # a fault of the stand-in: to be seen, and not to be retried
        traceback.print_exc(file=sys.stderr)
        return error(400, f'The stand-in failed: {type(problem).__name__}: {problem}')


def value(body):
    """value:compute"""
    import evaluate
    result = evaluate.to_json(evaluate.evaluate(body['expression']))
    return Answer(json.dumps({'result': result}).encode())


def image(body):
    """The bytes of a thumbnail or image download."""
    import encode
    import evaluate
    expression = body['expression']
    if 'grid' in body:
        expression = on_grid(expression, body['grid'])
    if body.get('visualizationOptions'):
        raise evaluate.EEError('The stand-in knows no visualizationOptions.')
    picture = evaluate.evaluate(expression)
    content, content_type = encode.image(picture, body.get('fileFormat'), body.get('bandIds'))
    return Answer(content, content_type=content_type)


def size(body):
    """What the service checks of an image before it hands out an id; other errors come later."""
    import encode
    import evaluate
    try:
        picture = evaluate.evaluate(body['expression'])
    except evaluate.EEError:
        return Answer()
    encode.check_size(picture)
    return Answer()


def table(body):
    """The bytes of a table download."""
    import encode
    import evaluate
    rows = evaluate.evaluate(body['expression'])
    content, content_type = encode.table(rows, body.get('fileFormat'), body.get('selectors'))
    return Answer(content, content_type=content_type)


def features(body):
    """table:computeFeatures, a page of GeoJSON."""
    import evaluate
    rows = evaluate.to_json(evaluate.evaluate(body['expression']))['features']
    start, count = int(body.get('pageToken') or 0), int(body.get('pageSize') or 1000)
    page = {'type': 'FeatureCollection', 'features': rows[start:start + count]}
    if start + count < len(rows):
        page['nextPageToken'] = str(start + count)
    return Answer(json.dumps(page).encode())


def on_grid(expression, grid):
    """The expression of an image on the grid of image:computePixels, as getThumbURL words it."""
    affine, dimensions = grid.get('affineTransform', {}), grid['dimensions']
    transform = [affine.get(key, 0) for key in ('scaleX', 'shearX', 'translateX',
                                                'shearY', 'scaleY', 'translateY')]
    placed = call('Image.reproject', image={'valueReference': expression['result']},
                  crs=call('Projection', crs=constant(grid.get('crsCode', 'EPSG:4326'))),
                  crsTransform=constant(transform))
    rectangle = call('GeometryConstructors.Rectangle',
                     coordinates=constant([0, 0, dimensions['width'], dimensions['height']]),
                     crs=call('Image.projection', image={'valueReference': 'placed'}),
                     geodesic=constant(False), evenOdd=constant(True))
    clipped = call('Image.clipToBoundsAndScale', input={'valueReference': 'placed'},
                   geometry=rectangle)
    return {'result': 'clipped',
            'values': {**expression['values'], 'placed': placed, 'clipped': clipped}}


def call(name, **arguments):
    """A call in an expression."""
    return {'functionInvocationValue': {'functionName': name, 'arguments': arguments}}


def constant(value):
    """A constant in an expression."""
    return {'constantValue': value}


JOBS = {'value': value, 'image': image, 'size': size, 'table': table, 'features': features}
