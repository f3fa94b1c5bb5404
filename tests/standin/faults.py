"""Seeded misbehaviour: what goes wrong with a request, and how a spoilt answer is sent.

The fate of a request follows from the seed, its kind, its digest and how often it has been seen, so
that a run can be repeated, and so that a retry draws anew.
"""
import contextlib
import json
import math
import random
import select
import socket
import struct
import time
from typing import NamedTuple

from sentences import say
from wire import JSON, Answer, chunk, error

EARTH_ENGINE = ('discovery', 'algorithms', 'compute', 'create', 'pixels', 'table')
WORK = ('compute', 'create', 'pixels', 'table')  # what restricted mode counts
PAGE = '<!DOCTYPE html>\n<html lang=en><title>Error</title><p>{}\n'
HTML = 'text/html; charset=UTF-8'
STREAMED = 'image/png', 'image/jpeg', 'text/csv', 'application/octet-stream'  # perhaps in chunks


def moved(status, place):
    """A redirection."""
    return Answer(b'', status, HTML, {'Location': place})


# Faults that are given in place of the answer.
INSTEAD = {
    '408': error(408, say('timeout_408')),
    '409': error(409, say('aborted_409')),
    '429': error(429, say('rate')),
    '500': error(500, say('internal_500')),
    '502': Answer(PAGE.format(say('page')).encode(), 502, HTML),
    '503': Answer(b'', 503, 'text/html'),
    'busy503': error(503, say('unavailable')),
    '499': error(499, say('cancelled_499')),
    '504': error(504, say('deadline_504')),
    'capacity': error(400, say('capacity')),
    'aggregations': error(400, say('aggregations')),
    'quota-aggregations': error(400, say('quota_aggregations')),
    'html': Answer(PAGE.format(say('page')).encode(), 200, HTML),
    'json': Answer(error(503, say('unavailable')).body),
    'empty': Answer(),
    'list': Answer(b'[]'),
    'braces': Answer(b'{}'),
    'no-error': Answer(b'{}', 503),
    'no-message': error(503, ''),
    'escapes': error(503, say('escapes')),
    'junk': Answer(say('no_upstream').encode(), content_type='text/plain'),
    '401': error(401, say('unauthenticated')),
    'rate403': error(403, say('rate_403'), errors=[{
        'message': say('rate_403'), 'domain': 'usageLimits', 'reason': say('rate_reason')}]),
    'reason403': error(403, say('too_much'), details=[{
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo', 'reason': say('rate_info')}]),
    'page403': Answer(PAGE.format(say('page')).encode(), 403, HTML),
}
# The same, but only where they are named: whether a script goes on is up to it.
NAMED = {
    'restricted': error(429, say('restricted')),
    'redirect307': moved(307, 'http://127.0.0.1:9/'),
    'redirect-http': moved(302, 'http://storage.googleapis.com/elsewhere'),
    'redirect308': moved(308, 'https://www.googleapis.com/elsewhere'),
    'bad-redirect': moved(302, 'https://[bad'),
}
SILENT = ('reset', 'eof', 'stall')  # no byte of an answer is sent
SPOILT = ('truncate', 'truncate-chunked', 'unframed', 'drip')  # the right answer, but part of it
KINDS = (*INSTEAD, 'expired', *SILENT, *SPOILT, 'bad-chunk', 'gzip', 'cut-gzip')
# Whole as answers, but not what was asked for: a table without its last rows, half a body, one with
# a byte changed. Only where they are named, as not all can be noticed.
WRONG = ('rows', 'half', 'flip')
EXTRA = (*NAMED, *WRONG, 'huge')  # all that has to be named
NOT_FOR_TOKENS = {'408', '409', '499', 'capacity', 'aggregations', 'quota-aggregations', 'rate403',
                  'reason403', 'page403', '401', 'restricted'}
BUSY = 'capacity', 'aggregations', 'quota-aggregations'  # whose status is a switch
HUGE = 300 << 20  # bytes of the fault huge


class Fate(NamedTuple):
    """What happens to a request."""
    fault: str
    delay: float
    zipped: bool
    chunked: bool


# of a request that is one too many: for the quota, and in restricted mode
CROWDED, TOO_MANY = Fate('crowded', 0, False, False), Fate('crowded restricted', 0, False, False)


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
    return Fate(fault, delay, zipped, chunked)


def fits(fault, kind, request):
    """Whether a request of this kind can suffer fault."""
    if kind == 'token':
        return fault not in NOT_FOR_TOKENS
    if fault in ('expired', 'redirect-http', *WRONG):
        return kind in ('pixels', 'table')
    if fault in ('redirect307', 'redirect308'):
        return request.method == 'POST'
    return fault != '401' or 'authorization' in request.headers


def instead(fault, behaviour):
    """The answer that a fault gives in place of the right one, or None."""
    if fault in ('crowded', 'crowded restricted'):
        return INSTEAD['429'] if fault == 'crowded' else NAMED['restricted']
    if fault == 'expired':
        return expired(behaviour)
    if fault in BUSY:
        return reworded(INSTEAD[fault], behaviour['capacity_status'])
    return Answer(status=0) if fault in SILENT else INSTEAD.get(fault) or NAMED.get(fault)


def expired(behaviour):
    """What the GET of an id is answered that is no longer valid."""
    words = {'expired': say('expired'), 'expired_other': say('expired_other')}
    return error(behaviour['expired_status'], words[behaviour['expired_words']])


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


def in_chunks(answer, fate, behaviour):
    """Whether an answer comes in chunks, not with a Content-Length."""
    if fate.fault in ('unframed', 'truncate-chunked', 'bad-chunk'):
        return fate.fault != 'unframed'
    switch = 'json_framing' if answer.content_type == JSON else (
        'result_framing' if answer.content_type in STREAMED else None)
    return fate.chunked or bool(switch) and behaviour[switch] == 'chunked'


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
    if fate.fault == 'huge':
        return send_huge(connection, answer)
    restricted = bool(options.restricted or options.restricted_concurrency)
    packed = answer.pack(in_chunks(answer, fate, options.behaviour), fate.zipped, restricted,
                         options.lower_headers, fate.fault)
    if fate.fault not in SPOILT:
        connection.sendall(packed)
        return fate.fault != 'bad-chunk'
    cut = len(packed) - len(answer.body) // 2 - 1
    connection.sendall(packed[:cut])
    if fate.fault == 'unframed':
        end_properly(connection)
    if fate.fault == 'drip':
        drip(connection, packed[cut:-1], options.stall)
    return False


def end_properly(connection):
    """Close TLS as its standard has it, so that nothing but a missing length tells what is missing."""
    connection.settimeout(1)
    with contextlib.suppress(OSError):  # a client need not answer
        connection.unwrap()


def send_huge(connection, answer):
    """Send chunk after chunk of zeros, until the client has enough or got all of them."""
    connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: %b\r\n\r\n'
                       % answer.content_type.encode())
    part = chunk(bytes(1 << 16))
    for _ in range(HUGE >> 16):
        connection.sendall(part)
    connection.sendall(chunk(b''))
    return True


def drip(connection, rest, seconds):
    """Send a few bytes a second for some seconds, or until the client gives up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not select.select([connection], [], [], 1)[0]:
        connection.sendall(rest[:4])
        rest = rest[4:]
