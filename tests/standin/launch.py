"""Start the stand-in: its options, its server process, and the environment of a script.

    with StandIn(concurrency=40, faults='create=0.1') as standin:
        subprocess.run([sys.executable, 'chips.py'], env=standin.environ)
        print(standin.counts()['results'])
"""
import http.client
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

from behaviour import BEHAVIOUR
from faults import EXTRA, KINDS, per_kind

# The options: name, value if it is not given, what it is (None for a switch), help.
OPTIONS = {
    'the service': [
        ('seed', 0, 'N', 'seed of everything that is random'),
        ('latency', '', 'SECONDS', 'mean time of an answer: 0.2 for all requests to Earth Engine, '
         'or by kind: create=0.15,pixels=0.6,table=5,compute=1'),
        ('concurrency', 0, 'N', 'answer 429 to requests beyond N at once (the real limit: 40)'),
        ('rate', 0.0, 'N', 'answer 429 to requests beyond N a second (the real limit is 100)'),
        ('eager', False, None, 'evaluate when an id is created, not when its result is fetched'),
        ('id-life', 0.0, 'SECONDS', 'then an id answers 404 (not given: never)'),
        ('token-life', 3600.0, 'SECONDS', 'then a token answers 401, whatever its expires_in said'),
        ('gzip', 0.0, 'P', 'share of the answers that are compressed, if the client takes it'),
        ('chunked', 0.0, 'P', 'share of the answers that have no Content-Length but chunks'),
        ('lower-headers', False, None,
         'write the names of headers in small letters, as some proxies do'),
        ('restricted', False, None, 'say in each answer that the project is in restricted mode'),
        ('restricted-concurrency', 0, 'N', 'the same, and answer 429 in the words of that mode to '
         'requests beyond N at once (about 2 were seen)'),
        ('known-only', False, None,
         'list only the functions that it can evaluate, a third of all: runs start sooner'),
        ('behaviour', '', 'NAME=VALUE,..', 'switches of behaviour.py'),
        ('tiny', False, None,
         'give one pixel or one row for each result, not evaluated (for benchmarks)'),
    ],
    'misbehaviour': [
        ('faults', '', 'P', 'share of the requests that suffer a fault: 0.1 for all to Earth '
         'Engine, or by kind: discovery=, algorithms=, compute=, create=, pixels=, table=, token=, '
         'catalog='),
        ('fault-kinds', '', 'A,B,..', f'faults to draw from (default: {", ".join(KINDS)}; there '
         f'are also {", ".join(EXTRA)})'),
        ('faults-in-turn', '', 'KIND=A B ..', 'what the first requests of a kind suffer, one after the '
         'other; - for nothing'),
        ('stall', 60.0, 'SECONDS', 'how long the faults stall and drip last'),
        ('broken', '', 'N[/M]', 'N items fail for good: early ones, or spread over about M'),
        ('broken-match', '', 'REGEX', 'items whose request matches fail for good'),
        ('broken-text', 'User memory limit exceeded.', 'TEXT', 'what they are answered'),
        ('broken-status', 400, 'N', 'and with which status'),
        ('proxy-refuses', 0.0, 'P', 'share of the connections that the proxy answers 407'),
        ('fatal-after', -1, 'N', 'refuse everything after N results'),
        ('fatal-status', 403, 'N', '403: no permission; 401: token not valid, and no new one'),
    ],
    'the account': [
        ('account', 'user', 'KIND', 'user: as the earthengine command signs in; service: the key '
         'of a service account, workload: a file of workload identity, each in '
         'GOOGLE_APPLICATION_CREDENTIALS'),
        ('no-credentials', False, None, 'there is no credentials file'),
        ('no-project', False, None, 'the credentials file has no project'),
        ('project', 'standin-project', 'ID', 'the only project there is, in the credentials file'),
        ('credentials-project', '', 'ID', 'another one in the credentials file'),
        ('revoked', False, None, 'the refresh token or key is not valid any more'),
        ('not-registered', False, None, 'the project is not registered for Earth Engine'),
    ],
    'the script': [
        ('start-method', '', 'NAME', 'how multiprocessing starts: fork, forkserver or spawn'),
    ],
}
DEFAULTS = {name.replace('-', '_'): default
            for group in OPTIONS.values() for name, default, _, _ in group}

PROXY = 'HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'
AUTHORITY = 'REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE', 'CURL_CA_BUNDLE'
ABSENT = ('NO_PROXY', 'no_proxy', 'ALL_PROXY', 'all_proxy', 'SSL_CERT_DIR', 'APPDATA',
          'GOOGLE_APPLICATION_CREDENTIALS', 'CLOUDSDK_CONFIG', 'EE_CLOUD_API_VERSION',
          'GOOGLE_CLOUD_PROJECT', 'GCLOUD_PROJECT', 'CLOUDSDK_CORE_PROJECT',
          'GOOGLE_CLOUD_QUOTA_PROJECT')

# Without a client_id it is that of the earthengine command, as for most people.
CREDENTIALS = {
    'refresh_token': '1//standin-refresh-token',
    'scopes': ['https://www.googleapis.com/auth/earthengine',
               'https://www.googleapis.com/auth/cloud-platform'],
}
ADDRESS = 'chips@{project}.iam.gserviceaccount.com'
SUBJECT_TOKEN = 'standin-subject-token'
WORKLOAD = {
    'type': 'external_account', 'token_url': 'https://sts.googleapis.com/v1/token',
    'subject_token_type': 'urn:ietf:params:oauth:token-type:jwt',
    'audience': '//iam.googleapis.com/projects/123456789/locations/global/workloadIdentityPools/'
                'pool/providers/provider'}
# Read when a Python starts. The variable is gone in the processes that the script starts.
SITECUSTOMIZE = '''
import os
if method := os.environ.pop('STANDIN_START_METHOD', None):
    import multiprocessing
    multiprocessing.set_start_method(method)
'''


class StandIn:
    """A stand-in that runs in a process of its own, as a context manager; see OPTIONS."""

    def __init__(self, **options):
        self.options = DEFAULTS
        self.take(options)

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='standin-'))
        # In a session of its own it does not see Ctrl-C; it ends when its input does.
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name('server.py')), str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, 'OPENBLAS_NUM_THREADS': '1'})  # its matrices are tiny
        self.process.stdin.write(json.dumps(self.settings) + '\n')
        self.process.stdin.flush()
        port = self.process.stdout.readline()
        if not port:
            self.__exit__()
            raise RuntimeError('the stand-in did not start: pip install -r tests/requirements.txt')
        self.port = int(port)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self, options):
        """Check some options, and take them if they are good."""
        if unknown := options.keys() - DEFAULTS.keys():
            raise TypeError(f'the stand-in has no option {", ".join(sorted(unknown))}')
        self.settings = settings({**self.options, **options})
        self.options = {**self.options, **options}

    def set(self, **options):
        """Change some options; all others stay."""
        self.take(options)
        self.control('options', json.dumps(self.settings))

    def counts(self):
        """What has been served since the start or the last reset()."""
        return self.control('counts')

    def reset(self):
        """Start counting again, and drawing faults; gives the counts so far."""
        return self.control('reset')

    def control(self, what, body=None):
        """Ask the server for something that is not Earth Engine's."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port)
        try:
            connection.request('POST', f'/standin/{what}', body)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def home(self):
        """A home folder that looks logged in, or with the key of a service."""
        home, options = self.folder / 'home', self.options
        file = home / '.config' / 'earthengine' / 'credentials'
        file.parent.mkdir(parents=True, exist_ok=True)
        project = {} if options['no_project'] else {
            'project': options['credentials_project'] or options['project']}
        file.write_text(json.dumps({**CREDENTIALS, **project}))
        if options['no_credentials'] or options['account'] != 'user':
            file.unlink()
        (home / 'sitecustomize.py').write_text(SITECUSTOMIZE)
        return home

    def key_file(self):
        """The path of the file for GOOGLE_APPLICATION_CREDENTIALS."""
        account, project = self.options['account'], (
            self.options['credentials_project'] or self.options['project'])
        named = {} if self.options['no_project'] else {
            'project_id' if account == 'service' else 'quota_project_id': project}
        if account == 'service':
            content = {'type': 'service_account', 'private_key': self.private_key(), **named,
                       'private_key_id': 'standin', 'client_email': ADDRESS.format(project=project),
                       'token_uri': 'https://oauth2.googleapis.com/token'}
        else:
            subject = self.folder / 'subject-token'
            subject.write_text(SUBJECT_TOKEN)
            content = {**WORKLOAD, 'credential_source': {'file': str(subject)}, **named}
        path = self.folder / f'{account}.json'
        path.write_text(json.dumps(content))
        return str(path)

    def private_key(self):
        """An RSA key, made once."""
        path = self.folder / 'key.pem'
        if not path.exists():
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import rsa
            path.write_bytes(rsa.generate_private_key(65537, 2048).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption()))
        return path.read_text()

    @property
    def environ(self):
        """The environment in which a script finds the stand-in."""
        home, method = str(self.home()), self.options['start_method']
        environ = {name: value for name, value in os.environ.items() if name not in ABSENT}
        environ.update(dict.fromkeys(PROXY, f'http://127.0.0.1:{self.port}'))
        environ.update(dict.fromkeys(AUTHORITY, str(self.folder / 'ca.pem')))
        environ.update(HOME=home, USERPROFILE=home, NO_GCE_CHECK='true',
                       PYTHONUSERBASE=site.getuserbase())  # lies in the home folder that is hidden
        if self.options['account'] != 'user' and not self.options['no_credentials']:
            environ['GOOGLE_APPLICATION_CREDENTIALS'] = self.key_file()
        if method:
            environ['PYTHONPATH'] = os.pathsep.join(
                filter(None, [home, os.environ.get('PYTHONPATH')]))
            environ['STANDIN_START_METHOD'] = method
        return environ


def settings(options):
    """The options as the server takes them; ValueError if one makes no sense."""
    kinds = options['fault_kinds'] or KINDS
    kinds = kinds.split(',') if isinstance(kinds, str) else list(kinds)
    if unknown := set(kinds) - {*KINDS, *EXTRA}:
        raise ValueError(f'no kind of fault: {", ".join(sorted(unknown))}')
    if options['start_method'] not in ('', 'fork', 'forkserver', 'spawn'):
        raise ValueError(f'no start method: {options["start_method"]}')
    if options['account'] not in ('user', 'service', 'workload'):
        raise ValueError(f'no kind of account: {options["account"]}')
    re.compile(options['broken_match'])
    broken, _, among = str(options['broken'] or 0).partition('/')
    # One in so many items may break: twice as many as shall, of which the first do.
    every = max(1, int(among) // max(1, 2 * int(broken))) if among else 4
    return {**options, 'faults': per_kind(options['faults']), 'fault_kinds': kinds,
            'latency': per_kind(options['latency']), 'behaviour': switches(options['behaviour']),
            'broken': int(broken), 'broken_every': every}


def switches(given):
    """BEHAVIOUR but for a dict, or 'name=value,name=value', where values are JSON or strings."""
    def parsed(text):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if isinstance(given, str):
        parts = [part.partition('=') for part in given.split(',') if part]
        given = {name: parsed(text) for name, _, text in parts}
    if unknown := given.keys() - BEHAVIOUR.keys():
        raise ValueError(f'no switch: {", ".join(sorted(unknown))}')
    return {**BEHAVIOUR, **given}
