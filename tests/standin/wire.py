"""Just enough HTTP/1.1: requests are read from a stream, answers are packed into bytes."""
import gzip
import http.client
import json
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

STATUS = {400: 'INVALID_ARGUMENT', 401: 'UNAUTHENTICATED', 403: 'PERMISSION_DENIED',
          404: 'NOT_FOUND', 409: 'ABORTED', 429: 'RESOURCE_EXHAUSTED', 499: 'CANCELLED',
          500: 'INTERNAL', 503: 'UNAVAILABLE', 504: 'DEADLINE_EXCEEDED'}
PHRASES = {**http.client.responses, 499: 'Client Closed Request'}
JSON = 'application/json; charset=UTF-8'


class Request(NamedTuple):
    """A request whose body has arrived; path has no query, the names of headers are lower case."""
    method: str
    path: str
    headers: dict
    body: bytes
    query: dict


@dataclass
class Answer:
    """What a request is answered with; headers are those beyond the usual ones."""
    body: bytes = b''
    status: int = 200
    content_type: str = JSON
    headers: dict = field(default_factory=dict)

    def pack(self, chunked=False, zipped=False, restricted=False, lower=False, fault=''):
        """The whole answer as bytes, to be sent by a single write."""
        body, headers = self.body, {'Content-Type': self.content_type, **self.headers}
        if restricted:
            headers['x-earth-engine-quota-status'] = 'parallelism_restricted=true'
        if zipped:
            body = gzip.compress(body, 1)
            body = body[:len(body) // 2] if fault == 'cut-gzip' else body
            headers['Content-Encoding'] = 'gzip'
        if chunked:
            body = b''.join(chunks(body, fault == 'bad-chunk'))
            headers['Transfer-Encoding'] = 'chunked'
        elif fault != 'unframed':
            headers['Content-Length'] = len(body)
        lines = [f'HTTP/1.1 {self.status} {PHRASES[self.status]}',
                 *(f'{name.lower() if lower else name}: {value}'
                   for name, value in headers.items()), '', '']
        return '\r\n'.join(lines).encode('latin-1') + body


def chunks(body, bad=False):
    """The pieces of a chunked body; a bad one has a negative size in its middle."""
    parts = [body[start:start + 4096] for start in range(0, len(body), 4096)]
    if bad:
        half = body[:len(body) // 2]
        return [*([chunk(half)] if half else []), b'-5\r\n', body[len(half):]]
    return [chunk(part) for part in [*parts, b'']]


def chunk(part):
    """A chunk; one of no bytes is the last."""
    return b'%x\r\n%b\r\n' % (len(part), part)


def read_request(stream):
    """The next request on stream, None at its end; ValueError if it makes no sense."""
    line = stream.readline(65536)
    if not line:
        return None
    method, target, _ = line.decode('latin-1').split()
    headers = {}
    while line := stream.readline(65536).strip():
        name, _, value = line.decode('latin-1').partition(':')
        headers[name.lower()] = value.strip()
    length = int(headers.get('content-length', 0))
    body = stream.read(length)
    if len(body) < length:
        raise ValueError('the request ends early')
    path, _, query = target.partition('?')
    return Request(method, unquote(path), headers, body, dict(parse_qsl(query)))


def reply(value, status=200):
    """An answer holding value as JSON."""
    return Answer(json.dumps(value).encode(), status)


def error(code, message, **details):
    """An error as Google's services word it."""
    status = STATUS.get(code, 'UNKNOWN')
    return reply({'error': {'code': code, 'message': message, 'status': status, **details}}, code)
