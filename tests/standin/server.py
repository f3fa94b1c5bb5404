"""The server: an HTTPS proxy that answers for googleapis.com itself.

It is run by launch.py as a process of its own: reads its options, as JSON, from the first line of
its input, prints its port, and ends when its input ends.
"""
import json
import os
import random
import shutil
import socket
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path

import trustme

import faults
from sentences import say
from service import HOSTS, PIXEL, Service
from wire import Answer, error, read_request, reply

QUICK_ACK = getattr(socket, 'TCP_QUICKACK', None)  # Linux only


class Connection(socketserver.BaseRequestHandler):
    """One connection of a client, in a thread of its own."""

    def handle(self):
        """Open a tunnel, or do what the tests ask for."""
        self.service = self.server.service
        try:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.request.makefile('rb') as stream:
                request = read_request(stream)
            if request and request.path.startswith('/standin/'):
                self.request.sendall(self.control(request).pack())
            elif request:
                self.connect(request)
        except (OSError, ValueError):
            pass  # the client is gone, or talks nonsense

    def control(self, request):
        """Change the options, or start counting again; gives the counts so far."""
        with self.service.lock:
            answer = reply(self.service.counts.report())
            if request.path == '/standin/options':
                self.service.set(json.loads(request.body))
            elif request.path == '/standin/reset':
                self.service.reset()
        return answer

    def count(self, name):
        """Count something that happened to a connection."""
        with self.service.lock:
            self.service.counts.totals[name] += 1

    def connect(self, request):
        """Answer CONNECT; to anything but Earth Engine the way is closed."""
        host = request.path.rpartition(':')[0]
        if request.method == 'GET' and request.path == 'http://storage.googleapis.com/elsewhere':
            self.count('unencrypted')  # what anybody on the way might have put in its place
            self.request.sendall(Answer(PIXEL, content_type='image/png').pack())
        elif request.method != 'CONNECT' or host not in HOSTS:
            self.count('refused_connections')
            self.request.sendall(error(502, say('proxy', place=request.path)).pack())
        elif self.proxy_refuses():
            self.count('refused_by_proxy')
            self.request.sendall(Answer(say('proxy_407').encode(), 407, 'text/plain', {
                'Proxy-Authenticate': 'Basic realm="proxy"'}).pack())
        else:
            self.count('connections')
            self.request.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
            self.tunnel(host)

    def proxy_refuses(self):
        """Whether the proxy wants a password now, drawn for each connection."""
        service = self.service
        totals = service.counts.totals
        number = totals['connections'] + totals['refused_by_proxy']
        dice = random.Random(f'{service.options.seed} connection {number}')
        return dice.random() < service.options.proxy_refuses

    def tunnel(self, host):
        """Talk TLS with a client that takes us for host."""
        if not self.request.recv(1, socket.MSG_PEEK):
            return  # it has left before the handshake
        try:
            secure = self.server.tls.wrap_socket(self.request, server_side=True)
        except OSError:
            self.count('failed_handshakes')
            return
        try:
            with secure, secure.makefile('rb') as stream:
                while self.exchange(secure, stream, host):
                    pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass
        except (ssl.SSLError, ValueError):  # as when two processes share a connection
            self.count('broken_tls')

    def exchange(self, secure, stream, host):
        """Answer the next request; False if that was the last on this connection."""
        if QUICK_ACK:  # behind a proxy a client holds the body back until the head is acknowledged
            secure.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
        request = read_request(stream)
        if not request:
            return False
        service = self.service
        kind, function = service.find(host, request)
        counts = service.counts
        digest, fate = service.enter(kind, request)
        time.sleep(fate.delay)
        answer = faults.instead(fate.fault, service.options.behaviour) or (
            service.answer(kind, function, request))
        slow = fate.fault in ('stall', 'drip')
        if not slow:  # before it is sent: at the limit, the client's next request could be quicker
            answer = service.leave(kind, request, digest, answer, fate.fault, counts)
        try:
            return faults.send(secure, answer, fate, service.options)
        finally:
            if slow:
                service.leave(kind, request, digest, answer, fate.fault, counts)


class Server(socketserver.ThreadingTCPServer):
    """The proxy, on a free port of the loopback interface."""
    daemon_threads, block_on_close, request_queue_size = True, False, 1024

    def __init__(self, folder, options):
        super().__init__(('127.0.0.1', 0), Connection)
        self.service = Service(options)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / 'ca.pem')
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*HOSTS).configure_cert(self.tls)

    def watch(self):
        """Write down how many requests are in flight, ten times a second, where it has changed."""
        while True:
            counts = self.service.counts
            now = [self.service.in_flight, counts.totals['results']]
            if not counts.history or counts.history[-1][1:] != now:
                counts.history.append([round(time.time() - counts.start, 2), *now])
            time.sleep(0.1)


def main():
    """Serve until the input ends."""
    folder = Path(sys.argv[1])
    server = Server(folder, json.loads(sys.stdin.readline()))
    for task in (server.serve_forever, server.watch):
        threading.Thread(target=task, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()  # ends with whoever started us, even if that was killed
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # with no word about requests that are still under way


if __name__ == '__main__':
    main()
