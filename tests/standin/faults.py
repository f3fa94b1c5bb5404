"""Seeded misbehaviour: what goes wrong with a request, and how a spoilt answer is sent.

The fate of a request follows from the seed, its kind, its digest and how often it has been seen, so
that a run can be repeated, and so that a retry draws anew.
"""
import json
import math
import random
import select
import socket
import struct
import time
from typing import NamedTuple

from wire import Answer, error

EARTH_ENGINE = ('discovery', 'algorithms', 'compute', 'create', 'pixels', 'table')
UNAUTHENTICATED = ('Request had invalid authentication credentials. Expected OAuth 2 access token, '
                   'login cookie or other valid authentication credential.')
PAGE = '<!DOCTYPE html>\n<html lang=en><title>Error</title><p>{}\n'
HTML = 'text/html; charset=UTF-8'

# Faults that are given in place of the answer.
INSTEAD = {
    '408': error(408, 'Request timed out.'),
    '409': error(409, 'The operation was aborted.'),
    '429': error(429, 'Too Many Requests: Request was rejected because the request rate or '
                      'concurrency limit was exceeded.'),
    '500': error(500, 'An internal error has occurred.'),
    '502': Answer(PAGE.format('That is an error.').encode(), 502, HTML),
    '503': Answer(b'', 503, 'text/html'),
    '499': error(499, 'The operation was cancelled.'),
    '504': error(504, 'Deadline exceeded.'),
    'capacity': error(400, 'Earth Engine capacity exceeded'),
    'aggregations': error(400, 'Too many concurrent aggregations.'),
    'html': Answer(PAGE.format('That is an error.').encode(), 200, HTML),
    'json': Answer(error(503, 'The service is currently unavailable.').body),
    'empty': Answer(),
    'list': Answer(b'[]'),
    'junk': Answer(b'upstream connect error', content_type='text/plain'),
    '401': error(401, UNAUTHENTICATED),
    'rate403': error(403, 'Rate Limit Exceeded', errors=[{
        'message': 'Rate Limit Exceeded', 'domain': 'usageLimits', 'reason': 'rateLimitExceeded'}]),
    'reason403': error(403, 'Too much.', details=[{
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo', 'reason': 'RATE_LIMIT_EXCEEDED'}]),
    'page403': Answer(PAGE.format('That is an error.').encode(), 403, HTML),
    'expired': error(404, 'Requested entity was not found.'),
}
SILENT = ('reset', 'eof', 'stall')  # no byte of an answer is sent
SPOILT = ('truncate', 'truncate-chunked', 'unframed', 'drip')  # the right answer, but a part of it
KINDS = (*INSTEAD, *SILENT, *SPOILT, 'gzip', 'cut-gzip')
# Whole as answers, but not what was asked for; only where they are named, as not all can be noticed.
WRONG = ('rows', 'half', 'flip')  # a table without its last rows, half a body, one with a byte changed
NOT_FOR_TOKENS = {'408', '409', '499', 'capacity', 'aggregations', 'rate403', 'reason403', 'page403',
                  '401'}


class Fate(NamedTuple):
    """What happens to a request."""
    fault: str
    delay: float
    zipped: bool
    chunked: bool


CROWDED = Fate('crowded', 0, False, False)  # of a request that is one too many


def per_kind(value):
    """The numbers per kind of request in value: '0.1,token=0.5' -> {'all': 0.1, 'token': 0.5}."""
    parts = [part.rpartition('=') for part in str(value or 0).split(',')]
    numbers = {kind.strip() or 'all': float(number) for kind, _, number in parts}
    if unknown := set(numbers) - {*EARTH_ENGINE, 'token', 'catalog', 'all'}:
        raise ValueError(f'no kind of request: {", ".join(sorted(unknown))}')
    return numbers


def of_kind(numbers, kind):
    """The number for kind; a number for 'all' holds for all requests to Earth Engine."""
    return numbers.get(kind, numbers.get('all', 0.0) if kind in EARTH_ENGINE else 0.0)


def draw(options, kind, request, digest, seen):
    """The Fate of a request that has been seen some times before."""
    dice = random.Random(f'{options.seed} {kind} {digest} {seen}')
    chance, choice, gauss = dice.random(), dice.random(), dice.gauss(0, 1)
    zipped, chunked = dice.random() < options.gzip, dice.random() < options.chunked
    fault = ''
    if chance < of_kind(options.faults, kind):
        fitting = [name for name in options.fault_kinds if fits(name, kind, request)]
        fault = fitting[int(choice * len(fitting))] if fitting else ''
    delay = of_kind(options.latency, kind) * math.exp(gauss / 2 - 1 / 8)  # log-normal
    zipped = (zipped or 'gzip' in fault) and 'gzip' in request.headers.get('accept-encoding', '')
    fault = '' if fault == 'cut-gzip' and not zipped else fault
    chunked = chunked and fault != 'unframed' or fault == 'truncate-chunked'
    return Fate(fault, delay, zipped, chunked)


def fits(fault, kind, request):
    """Whether a request of this kind can suffer fault."""
    if kind == 'token':
        return fault not in NOT_FOR_TOKENS
    if fault in ('expired', *WRONG):
        return kind in ('pixels', 'table')
    return fault != '401' or 'authorization' in request.headers


def instead(fault, behaviour):
    """The answer that a fault gives in place of the right one, or None."""
    if fault == 'crowded':
        return INSTEAD['429']
    if fault in ('capacity', 'aggregations'):
        return reworded(INSTEAD[fault], behaviour['capacity_status'])
    return Answer(status=0) if fault in SILENT else INSTEAD.get(fault)


def reworded(answer, status, body='json'):
    """An error with another status, or as an HTML page or plain text in place of JSON."""
    same = status == answer.status and body == 'json'
    if same or not answer.body.startswith(b'{"error"'):
        return answer
    message = json.loads(answer.body)['error']['message']
    if body == 'json':
        return error(status, message)
    return Answer((message if body == 'text' else PAGE.format(message)).encode(), status,
                  'text/plain' if body == 'text' else HTML)


def wrong(answer, fault):
    """An answer as one of WRONG."""
    body = answer.body
    if fault == 'flip':
        place = len(body) * 2 // 3
        body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1:]
    elif fault == 'half':
        body = body[:len(body) // 2]
    elif fault == 'rows':
        lines = body.splitlines(keepends=True)
        body = b''.join(lines[:(len(lines) + 1) // 2])
    return Answer(body, answer.status, answer.content_type)


def send(connection, answer, fate, options):
    """Send an answer as fate has it; False if the connection has to be closed."""
    if fate.fault in WRONG:
        answer = wrong(answer, fate.fault)
    if fate.fault in SILENT:
        if fate.fault == 'stall':
            select.select([connection], [], [], options.stall)  # or until the client gives up
        if fate.fault == 'reset':
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        return False
    packed = answer.pack(fate.chunked, fate.zipped, options.restricted, options.lower_headers, fate.fault)
    if fate.fault not in SPOILT:
        connection.sendall(packed)
        return True
    cut = len(packed) - len(answer.body) // 2 - 1
    connection.sendall(packed[:cut])
    if fate.fault == 'drip':
        drip(connection, packed[cut:-1], options.stall)
    return False


def drip(connection, rest, seconds):
    """Send a few bytes a second for some seconds, or until the client gives up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not select.select([connection], [], [], 1)[0]:
        connection.sendall(rest[:4])
        rest = rest[4:]
