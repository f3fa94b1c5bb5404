"""Starts scripts from a process that has already loaded what they import, which is half of a short run.

    with Warm(scripts, environ) as warm:
        run = warm.start(['chips.py', '--first', '1'], folder)
        out, err = run.communicate(timeout=60)

All else is as in a run from the shell: the script is read and compiled anew, as the main program of a process,
session and folder of its own. Only what Python takes apart at its very end is left to the system.
"""
import ast
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading

# Variables that may differ from run to run, as what they lead to is read when a script has begun, or can be
LATER = 'PYTHONPATH', 'STANDIN_START_METHOD', 'GOOGLE_APPLICATION_CREDENTIALS'


class Warm:
    """The process from which scripts are forked, as the tests see it."""

    def __init__(self, scripts, environ):
        self.environ = environ
        self.jobs, theirs = socket.socketpair()
        # each run sets its start method, which can be done but once
        own = {name: value for name, value in environ.items() if name != 'STANDIN_START_METHOD'}
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), *map(str, scripts)], env=own,
            stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.jobs.close()
        self.process.wait()

    def can_start(self, environ):
        """Whether a run with these variables can begin here."""
        own, asked = ({name: value for name, value in variables.items() if name not in LATER}
                      for variables in (self.environ, environ))
        return own == asked

    def start(self, command, folder, environ):
        """Starts a script, the first word of a command, in its folder; returns a Run."""
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        control, theirs = socket.socketpair()
        later = {name: environ[name] for name in LATER if name in environ}
        job = json.dumps([command, str(folder), later]).encode()
        socket.send_fds(self.jobs, [job], [their_out, their_err, theirs.fileno()])
        os.close(their_out)
        os.close(their_err)
        theirs.close()
        return Run(control, out, err)


class Run:
    """A script that runs; as much of subprocess.Popen as the tests use."""

    def __init__(self, control, out, err):
        self.control, self.returncode = control, None
        self.stdout, self.stderr = open(out, errors='replace'), open(err, errors='replace')
        self.pid = int.from_bytes(control.recv(4))
        assert self.pid, 'what starts scripts has ended'  # or a signal would go to our own group

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self.control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired('a run', timeout)
            self.returncode = int.from_bytes(self.control.recv(4), signed=True)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def communicate(self, timeout=None):
        texts = {}
        reading = [threading.Thread(target=lambda file=file: texts.update({file: file.read()}), daemon=True)
                   for file in (self.stdout, self.stderr)]
        for thread in reading:
            thread.start()
        for thread in reading:
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired('a run', timeout)
        self.wait()
        self.control.close()
        for file in texts:
            file.close()
        return texts[self.stdout], texts[self.stderr]


def serve(jobs):
    """Forks a process for each job that comes, and one that waits for it; returns, in the former, what it is to
    run and where, and its two outputs."""
    while True:
        job, files, _, _ = socket.recv_fds(jobs, 1 << 16, 3)
        if not job:
            sys.exit()
        if os.fork():
            for file in files:
                os.close(file)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # what has waited
                    pass
            continue
        jobs.close()
        *outputs, control = files
        control = socket.socket(fileno=control)
        if not (pid := os.fork()):
            control.close()
            return *json.loads(job), outputs
        for file in outputs:
            os.close(file)
        control.sendall(pid.to_bytes(4))
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):  # nobody wants to know
            control.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
        os._exit(0)


def load(script):
    """Imports what a script imports at its top."""
    with open(script, encoding='utf-8') as file:
        parts = ast.parse(file.read()).body
    for part in parts:
        if isinstance(part, ast.Import):
            for alias in part.names:
                importlib.import_module(alias.name)
        elif isinstance(part, ast.ImportFrom):
            importlib.import_module(part.module)


def main():
    jobs = socket.socket(fileno=int(sys.argv[1]))
    for script in sys.argv[2:]:
        load(script)
    gc.freeze()  # what is loaded need not be looked through in each copy
    command, folder, later, outputs = serve(jobs)
    os.setsid()
    os.chdir(folder)
    for number, output in zip((1, 2), outputs):
        os.dup2(output, number)
        os.close(output)
    os.environ.update(later)
    for place in later.get('PYTHONPATH', '').split(os.pathsep):
        if os.path.exists(hook := os.path.join(place, 'sitecustomize.py')):
            runpy.run_path(hook)
            break
    script = os.path.join(folder, command[0])
    sys.argv, sys.path[0] = command, os.path.dirname(script)
    try:
        runpy.run_path(script, run_name='__main__')
        status = 0
    except SystemExit as end:
        status = end.code or 0
    if not isinstance(status, int):
        sys.exit(status)
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == '__main__':
    main()
