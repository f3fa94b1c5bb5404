"""Starts scripts from a process that has loaded already what they import, which is half of a short run.

    with Warm(scripts, environ) as warm:
        status, printed, pid = warm.run(['chips.py'], folder, environ, seconds)

All else is as the shell does it: the script is read and compiled anew, as the main program of a process of its
own, in its own folder, session and environment, and this process ends as any other.
"""
import ast
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time


class Warm:
    """The process from which scripts are forked, seen from the tests."""

    def __init__(self, scripts, environ):
        self.ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), *map(str, scripts)], env=environ,
            stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ours.close()
        self.process.wait()

    def run(self, command, folder, environ, seconds):
        """Runs a script and returns (exit status, what it printed, process id)."""
        job = json.dumps([command, str(folder), environ]).encode()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            self.ours.settimeout(None)
            socket.send_fds(self.ours, [len(job).to_bytes(4)], [out.fileno(), err.fileno()])
            self.ours.sendall(job)
            pid = int.from_bytes(self.ours.recv(4))
            self.ours.settimeout(seconds)
            try:
                status = self.ours.recv(4)
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                self.ours.settimeout(None)
                self.ours.recv(4)
                raise
            texts = []
            for file in out, err:
                file.seek(0)
                texts.append(file.read().decode(errors='replace').replace('\r\n', '\n').replace('\r', '\n'))
        return int.from_bytes(status, signed=True), ''.join(texts), pid


def serve(control):
    """Forks a process for each job that comes; returns the job in that process."""
    while True:
        head, files, _, _ = socket.recv_fds(control, 4, 2)
        if not head:
            sys.exit()
        job = b''
        while len(job) < int.from_bytes(head):
            job += control.recv(1 << 20)
        pid = os.fork()
        if pid == 0:
            control.close()
            return *json.loads(job), files
        for file in files:
            os.close(file)
        control.sendall(pid.to_bytes(4))
        _, status = os.waitpid(pid, 0)
        control.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))


def load(script):
    """Imports what a script imports at its top."""
    with open(script, encoding='utf-8') as file:
        for part in ast.parse(file.read()).body:
            names = [part.module] if isinstance(part, ast.ImportFrom) else [
                alias.name for alias in part.names] if isinstance(part, ast.Import) else []
            for name in names:
                importlib.import_module(name)


def main():
    control = socket.socket(fileno=int(sys.argv[1]))
    for script in sys.argv[2:]:
        load(script)
    gc.freeze()  # it need not be looked through in each copy
    command, folder, environ, files = serve(control)
    os.setsid()
    os.chdir(folder)
    for number, file in zip((1, 2), files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv, sys.path[0] = command, folder
    runpy.run_path(os.path.join(folder, command[0]), run_name='__main__')


if __name__ == '__main__':
    main()
