"""Google's side of the stand-in: tokens, ids, limits and results; a request in, an Answer out."""
import base64
import collections
import functools
import hashlib
import importlib.util
import json
import multiprocessing
import queue
import re
import secrets
import threading
import time
import traceback
import types
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import faults
from sentences import say
from wire import Answer, error, reply

HOSTS = ('earthengine-highvolume.googleapis.com', 'earthengine.googleapis.com',
         'oauth2.googleapis.com', 'sts.googleapis.com', 'cloudresourcemanager.googleapis.com',
         'storage.googleapis.com', 'www.googleapis.com')
CLIENT_PROJECT = '517222506229'  # of the client itself: what it names if there is no other
REFRESH_TOKEN = '1//standin-refresh-token'  # as in launch.CREDENTIALS
SUBJECT_TOKEN = 'standin-subject-token'  # as in launch.py
SCOPES = {f'https://www.googleapis.com/auth/{name}' for name in ('earthengine', 'cloud-platform')}
GRANTS = 'urn:ietf:params:oauth:grant-type:'

ID = re.compile('projects/[^/]+/(thumbnails|tables)/[0-9a-f]{32}-[0-9a-f]{32}')
# Switches that are not about values; the rest of a word may follow.
NOT_OF_VALUES = ('capacity', 'expired', 'error_body', 'json', 'result', 'png', 'csv', 'download', 'table')
SHORT, KEPT = 50_000, 5_000  # bytes, and number, of the answers that are kept
TAG = re.compile('[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?')  # as in ee/_state.py: _WorkloadTag

CATALOG = 'https://developers.google.com/earth-engine/datasets/catalog/'
DEPRECATED = {'links': [{
    'rel': 'child', 'title': 'MODIS/006/MOD11A2', 'href': CATALOG + 'MODIS_006_MOD11A2',
    'deprecated': True, 'gee:replacement_id': 'MODIS/061/MOD11A2',
    'gee:removal_date': '2023-07-31T00:00:00Z',
    'gee:learn_more_url': CATALOG + 'MODIS_006_MOD11A2'}]}
PIXEL = bytes.fromhex('89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c'
                      '49444154789c63606060000000040001f61738550000000049454e44ae426082')


class Created(NamedTuple):
    """A download that has an id; answer is None until it is asked for."""
    body: bytes
    digest: str
    answer: Answer
    time: float


class Counts:
    """What has been served since the last reset."""

    def __init__(self):
        self.requests = collections.defaultdict(collections.Counter)  # kind -> status -> number
        self.faults = collections.defaultdict(collections.Counter)  # kind -> fault -> number
        self.hosts = collections.Counter()  # host -> number of requests
        self.projects = collections.Counter()  # project in x-goog-user-project -> requests
        self.workload_tags = collections.Counter()  # tag -> number of requests
        self.scopes = set()  # that a token was asked for
        self.served = set()  # digests of the requests that got their result
        self.totals = collections.Counter(dict.fromkeys((
            'connections', 'refused_connections', 'unencrypted', 'refused_by_proxy', 'failed_handshakes',
            'broken_tls', 'tokens', 'throttled', 'most_at_once', 'results',
            'credentials_with_results', 'bytes'), 0))
        self.start, self.history = time.time(), []  # [seconds, requests in flight, results]

    def report(self):
        """All but the digests, as JSON has it."""
        return {'requests': self.requests, 'faults': self.faults, 'hosts': self.hosts,
                'projects': self.projects, 'workload_tags': self.workload_tags,
                'scopes': sorted(self.scopes), **self.totals,
                'items_served': len(self.served), 'history': self.history}


class Service:
    """The way of a request through it is find, enter, answer, leave."""

    def __init__(self, options):
        self.lock = threading.Lock()
        self.idle = queue.SimpleQueue()  # pipes to worker processes
        for _ in range(2):
            self.idle.put(start_worker())
        self.created, self.tokens, self.answers = {}, {}, {}
        self.broken = collections.defaultdict(set)  # what has been chosen, for each choice
        self.under_way = {}  # {id of a request: its kind}
        self.bucket, self.filled = 0.0, 0.0
        self.set(options)
        self.reset()

    def set(self, options):
        """Take other options, at any time."""
        self.options = types.SimpleNamespace(**options)
        kind, _, turns = self.options.faults_in_turn.partition('=')
        self.turns = {kind: turns.split()}

    @property
    def in_flight(self):
        """How many requests are under way."""
        return len(self.under_way)

    def at_work(self):
        """How many of them compute."""
        return sum(kind in faults.WORK for kind in self.under_way.values())

    def reset(self):
        """Forget what has been served; ids and tokens stay valid."""
        self.counts, self.seen = Counts(), collections.Counter()
        self.under_way.clear()  # those of runs that were killed
        self.broken.clear()

    def find(self, host, request):
        """The kind of a request, and the function that answers it."""
        with self.lock:
            self.counts.hosts[host] += 1
            if project := request.headers.get('x-goog-user-project'):
                self.counts.projects[project] += 1
        for verb, place, kind, function in METHODS:
            if verb == request.method and re.fullmatch(place, host + request.path):
                return kind, function
        return 'other', lambda service, request: error(
            404, say('lacks', what=f'{request.method} {request.path}'))

    def enter(self, kind, request):
        """Count a request in; gives its digest and its Fate."""
        name = ID.search(request.path)
        known = name and self.created.get(name[0])
        digest = known.digest if known else sha1(request.body or request.path.encode())
        with self.lock:
            if tag := workload_tag(kind, request):
                self.counts.workload_tags[tag] += 1
            if kind in faults.EARTH_ENGINE:
                restricted = self.options.restricted_concurrency
                if restricted and kind in faults.WORK and self.at_work() >= restricted:
                    return digest, faults.TOO_MANY
                if self.crowded():
                    return digest, faults.CROWDED
                self.under_way[id(request)] = kind
                totals = self.counts.totals
                totals['most_at_once'] = max(totals['most_at_once'], self.in_flight)
            self.seen[kind, digest] += 1
            seen, turns = self.seen[kind, digest], self.turns.get(kind)
            turn = turns.pop(0) if turns else ''
        fate = faults.draw(self.options, kind, request, digest, seen)
        return digest, fate._replace(fault=turn.strip('-')) if turn else fate

    def crowded(self):
        """Whether a request now is one too many; it takes its share of the rate if it is not."""
        limit, rate, now = self.options.concurrency, self.options.rate, time.monotonic()
        if limit and self.in_flight >= limit:
            return True
        if not rate:
            return False
        self.bucket = min(max(1, rate / 5), self.bucket + (now - self.filled) * rate)
        self.filled = now
        if self.bucket < 1:
            return True
        self.bucket -= 1
        return False

    def answer(self, kind, function, request):
        """What a request is answered when nothing goes wrong."""
        try:
            return self.refusal(kind, request) or function(self, request)
        except Exception as problem:  # of the stand-in itself: to be seen, and not to be retried
            traceback.print_exc()
            return error(400, say('failed', error=f'{type(problem).__name__}: {problem}'))

    def leave(self, kind, request, digest, answer, fault, counts):
        """Count a request out, in the Counts of when it came in, as a run that was killed may have
        left it behind; gives its answer, which is no result when there are no more."""
        result = kind in ('pixels', 'table')
        with self.lock:
            complete = answer.status == 200 and fault in ('', 'gzip')
            if fault == 'expired':
                self.created.pop(ID.search(request.path)[0], None)  # and stays so
            if fault.startswith('crowded'):
                counts.totals['throttled'] += 1
            else:
                self.under_way.pop(id(request), None)  # none if it's of before the last reset()
                counts.faults[kind].update([fault] * bool(fault))
            if complete and result and self.exhausted():
                answer = self.refusal(kind, request)
            elif complete and result:
                counts.totals['results'] += 1
                counts.served.add(digest)
            counts.totals['tokens'] += complete and kind == 'token'
            counts.totals['credentials_with_results'] += result and bool(
                {'authorization', 'x-goog-user-project'} & set(request.headers))
            counts.totals['bytes'] += len(answer.body)
            counts.requests[kind][answer.status or 'none'] += 1
        if result and answer.status >= 400:
            return faults.reworded(answer, answer.status, self.options.behaviour['error_body'])
        return answer

    def exhausted(self):
        """Whether --fatal-after results have been served."""
        return 0 <= self.options.fatal_after <= self.counts.totals['results']

    def refusal(self, kind, request):
        """The error for a request that may not be made, or None."""
        if kind not in faults.EARTH_ENGINE or kind == 'discovery':
            return None
        options, headers, project = self.options, request.headers, request.path.split('/')[3]
        if self.exhausted():
            if options.fatal_status == 401:
                return error(401, say('unauthenticated'))
            return error(403, say('no_permission', project=project))
        if kind in ('pixels', 'table'):
            return None  # who has the URL may fetch it
        token = headers.get('authorization', '').removeprefix('Bearer ')
        if not token:
            return error(401, say('no_token'))
        if time.monotonic() - self.tokens.get(token, -1e9) > options.token_life:
            return error(401, say('unauthenticated'))
        payer = headers.get('x-goog-user-project')
        if not payer or CLIENT_PROJECT in (project, payer):
            return error(403, say('no_permission', project=project))
        for name in project, payer:
            if name != options.project:
                return error(options.behaviour['other_project_status'],
                             say('no_project', project=name))
        if options.not_registered:
            return error(403, say('not_registered', project=project))
        tag = workload_tag(kind, request)
        return error(400, say('tag', tag=tag)) if tag and not TAG.fullmatch(tag) else None

    def token(self, request):
        """A new access token for the refresh token, the key of a service account or a subject."""
        form = dict(urllib.parse.parse_qsl(request.body.decode()))
        grant, claims = form.get('grant_type', '').removeprefix(GRANTS), form
        if grant == 'jwt-bearer':
            claims = jwt_claims(form['assertion'])
        scopes = claims.get('scope', '').split()
        with self.lock:
            self.counts.scopes.update(scopes)
        fine = {'refresh_token': form.get('refresh_token') == REFRESH_TOKEN,
                'token-exchange': form.get('subject_token') == SUBJECT_TOKEN,
                'jwt-bearer': claims.get('iss') == claims.get('sub', claims.get('iss'))}
        revoked = self.options.revoked or self.exhausted() and self.options.fatal_status == 401
        if revoked or not fine.get(grant):
            return reply({'error': 'invalid_grant', 'error_description': say('grant')}, 400)
        if grant != 'refresh_token' and not SCOPES & {*scopes}:
            return reply({'error': 'invalid_scope', 'error_description': say('scope')}, 400)
        token = f'ya29.standin-{len(self.tokens) + 1}'
        self.tokens[token] = time.monotonic()
        kind = {'issued_token_type': 'urn:ietf:params:oauth:token-type:access_token'} if (
            grant == 'token-exchange') else {}
        return reply({'access_token': token, 'expires_in': 3599, 'token_type': 'Bearer',
                      'scope': ' '.join(scopes), **kind})

    def create(self, request):
        """The id of a download; most errors in its expression come later, when it is fetched."""
        kind, digest, answer = request.path.rpartition('/')[2], sha1(request.body), None
        checked, behaviour = Answer(), self.options.behaviour
        if self.options.eager:
            answer = checked = self.result(kind, request.body, digest)
        elif kind == 'thumbnails' and not self.options.tiny:
            checked = self.run('size', request.body)
        if checked.status == 200 and not answer and behaviour['max_images_at'] == 'create' and (
                behaviour['max_images'] is not None):
            answer = self.result(kind, request.body, digest)  # kept, with other errors, for the GET
            if told(answer, behaviour['max_images_text']):
                checked = answer
        if checked.status != 200:
            return checked
        parent = request.path.removeprefix('/v1/')
        name = f'{parent}/{secrets.token_hex(16)}-{secrets.token_hex(16)}'
        self.created[name] = Created(request.body, digest, answer, time.monotonic())
        return reply({'name': name})

    def download(self, request):
        """The bytes of a download."""
        name, life = ID.search(request.path), self.options.id_life
        known = name and self.created.get(name[0])
        if not known or life and time.monotonic() - known.time > life:
            return faults.expired(self.options.behaviour)
        return known.answer or self.result(name[1], known.body, known.digest)

    def result(self, kind, body, digest):
        """The bytes of an image or a table, or the error in it."""
        if self.breaks(body, digest):
            return error(self.options.broken_status, self.options.broken_text)
        if not self.options.tiny:
            return self.run('image' if kind == 'thumbnails' else 'table', body)
        if kind == 'thumbnails':
            return Answer(PIXEL, content_type='image/png')
        columns = json.loads(body).get('selectors') or ['system:index', '.geo']
        rows = ','.join(columns) + '\n' + ',' * (len(columns) - 1) + '\n'
        return Answer(rows.encode(), content_type='text/csv')

    def breaks(self, body, digest):
        """Whether an item fails for good."""
        options = self.options
        if options.broken_match and re.search(options.broken_match, body.decode()):
            return True
        chosen = self.broken[options.seed, options.broken, options.broken_every]
        if int(sha1(f'{options.seed} {digest}'.encode()), 16) % options.broken_every == 0:
            with self.lock:
                if len(chosen) < options.broken:
                    chosen.add(digest)
        return digest in chosen

    @functools.cached_property
    def known(self):
        """The list of the functions that can be evaluated."""
        return self.run('functions', b'{}')

    def run(self, job, body):
        """The Answer of a worker. Short ones are kept, as tests ask for the same again and again, and a
        list of points takes seconds."""
        others = NOT_OF_VALUES if job == 'value' else ()
        key = job, body, str({name: value for name, value in self.options.behaviour.items()
                              if not name.startswith(others)})
        if key in self.answers:
            return self.answers[key]
        pipe = self.idle.get()
        try:
            pipe.send((job, body, self.options.behaviour))
            answer = pipe.recv()
        finally:
            self.idle.put(pipe)
        if len(answer.body) < SHORT:
            if len(self.answers) == KEPT:
                self.answers.clear()
            self.answers[key] = answer
        return answer


def start_worker():
    """A pipe to a new process that evaluates, so that the server stays quick meanwhile."""
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    context.Process(target=work, args=(theirs,), daemon=True).start()
    theirs.close()  # the worker ends when our end is closed, however that came about
    return ours


def work(pipe):
    """Do the jobs that come through pipe until it is closed."""
    import worker  # takes a moment: only where it is needed
    while True:
        try:
            pipe.send(worker.answer(*pipe.recv()))
        except (EOFError, OSError):
            return


def sha1(content):
    """What a request is known by."""
    return hashlib.sha1(content).hexdigest()


def workload_tag(kind, request):
    """The tag of a request, or None: developers.google.com/earth-engine/reference/rest/v1, a
    parameter of thumbnails.create and tables.create, and a part of the body of value.compute."""
    if kind == 'create':
        return request.query.get('workloadTag')
    if kind != 'compute' or b'"workloadTag"' not in request.body:
        return None
    return json.loads(request.body).get('workloadTag')


def jwt_claims(token):
    """What a JSON web token says; nobody checks its signature here."""
    part = token.split('.')[1]
    return json.loads(base64.urlsafe_b64decode(part + '=' * (-len(part) % 4)))


def told(answer, text):
    """Whether an answer is an error that says so, perhaps behind the name of an element."""
    return answer.status >= 400 and text in json.loads(answer.body)['error']['message']


def client_file(name):
    """The text of a file that comes with the tests of the client."""
    folder = Path(importlib.util.find_spec('ee').submodule_search_locations[0])
    return (folder / 'tests' / name).read_text(encoding='utf-8')


@functools.cache
def read_algorithms():
    """The functions that an expression can call."""
    return reply(json.loads(client_file('algorithms.json')))


@functools.cache
def read_discovery():
    """The description of the service; the client's copy is of 2020 and lacks tables and tags."""
    document = json.loads(
        client_file('cloud_api_discovery_document.json').replace('v1alpha', 'v1'))
    methods = document['resources']['projects']['resources']
    methods['tables'] = json.loads(json.dumps(methods['thumbnails']).replace(
        'thumbnails', 'tables').replace('getPixels', 'getFeatures'))
    for name in 'thumbnails', 'tables':
        methods[name]['methods']['create']['parameters']['workloadTag'] = {
            'location': 'query', 'type': 'string'}
    return reply(document)


# What there is: verb, host and path, kind that it counts as, function that answers it.
PLACE = r'earthengine(-highvolume)?\.googleapis\.com'
PROJECT = PLACE + '/v1/projects/[^/]+/'
METHODS = (
    ('POST', r'oauth2\.googleapis\.com/token', 'token', Service.token),
    ('POST', r'sts\.googleapis\.com/v1/token', 'token', Service.token),
    ('GET', r'cloudresourcemanager\.googleapis\.com/v1/projects/\d+', 'project',
     lambda service, request: reply({'projectId': service.options.project})),
    ('GET', r'storage\.googleapis\.com/.*/catalog_deprecated\.json', 'catalog',
     lambda service, request: reply(DEPRECATED)),
    ('GET', PLACE + r'/\$discovery/rest', 'discovery', lambda service, request: read_discovery()),
    ('GET', PROJECT + 'algorithms', 'algorithms',
     lambda service, request: service.known if service.options.known_only else read_algorithms()),
    ('POST', PROJECT + 'value:compute', 'compute',
     lambda service, request: service.run('value', request.body)),
    ('POST', PROJECT + '(thumbnails|tables)', 'create', Service.create),
    ('GET', PROJECT + 'thumbnails/[^/]+:getPixels', 'pixels', Service.download),
    ('GET', PROJECT + 'tables/[^/]+:getFeatures', 'table', Service.download),
)
