"""The interpreter of a sandbox: runs cells that the worker sends, keeps their variables.

Imports nothing that Python has not loaded by itself: a cold start waits for every import.
Descriptor 3 is the channel, frames of a little-endian length and a body; 4 was this program.

    to us:    nonce (16) | length of variables (4) | NAME=value, each ended by \\0 | source
    from us:  kind (1) | nonce (16) | body
              R ready, r repr of the last value, i image (type, bytes), D done (exit code, hints)

Code in a cell can do all that we can: take frames off the channel, or write some. It gains nothing
by that but a wrong answer to its own call: a call's nonce is unknown before the call, and the worker
trusts no length and no kind. What ended, and how, it hears from the sandbox's init.
"""

import sys
from io import BytesIO
from posix import _exit, close, environ, getpid, putenv, read, set_inheritable, unsetenv, write

import _ast
from _signal import SIGINT, default_int_handler, signal

CHANNEL, PROGRAM = 3, 4
OURS = '<baton>'
OUTPUT_LIMIT, DISPLAY_LIMIT = int(sys.argv[1]), int(sys.argv[2])
ONLY_AST, TOP_LEVEL_AWAIT, COROUTINE = 0x400, 0x2000, 0x80
MEMORY, PROCESSES, DISK, CUT = 1, 2, 4, 8
EFBIG, ENOSPC, EDQUOT = 27, 28, 122

sources = {}  # file name of a cell -> what linecache keeps of a file
outbox = []  # what the running cell shows, sent when nothing can interrupt any more
given = set()  # environment variables of the running call
loop = None  # the event loop of cells that await


def receive():
    size = int.from_bytes(read_exactly(4), 'little')
    frame = memoryview(read_exactly(size))
    start = 20 + int.from_bytes(frame[16:20], 'little')
    pairs = [pair.split(b'=', 1) for pair in bytes(frame[20:start]).split(b'\0') if pair]
    return bytes(frame[:16]), pairs, bytes(frame[start:]).decode('utf-8', 'replace')


def read_exactly(size):
    parts = []
    while size:
        part = read(CHANNEL, min(size, 1 << 20))
        if not part:
            _exit(0)  # the worker has gone
        parts.append(part)
        size -= len(part)
    return b''.join(parts)


def send(kind, nonce, body=b''):
    frame = memoryview((17 + len(body)).to_bytes(4, 'little') + kind + nonce + body)
    while frame:
        frame = frame[write(CHANNEL, frame):]


class FillLinecache:
    """Hands our cells to linecache when somebody first imports it, for source lines in tracebacks."""

    def find_spec(self, name, path=None, target=None):
        if name != 'linecache':
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                load = spec.loader.exec_module

                def exec_module(module):
                    load(module)
                    module.cache.update(sources)

                try:
                    spec.loader.exec_module = exec_module
                except AttributeError:
                    pass  # frozen into the interpreter: the next cell is known to it
                return spec
        return None


def remember(name, source):
    sources[name] = (len(source), None, source.splitlines(True), name)
    linecache = sys.modules.get('linecache')
    if linecache is not None and hasattr(linecache, 'cache'):
        linecache.cache.update(sources)


def execute(source, name):
    """Runs the statements, and returns the value of the last if it is an expression."""
    remember(name, source)
    flags = ONLY_AST | TOP_LEVEL_AWAIT
    tree = compile(source, name, 'exec', flags, True)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], _ast.Expr) else None
    evaluate(compile(tree, name, 'exec', TOP_LEVEL_AWAIT, True))
    if last is not None:
        return evaluate(compile(_ast.Expression(last.value), name, 'eval', TOP_LEVEL_AWAIT, True))


def evaluate(code):
    value = eval(code, namespace)
    return wait_for(value) if code.co_flags & COROUTINE else value


def wait_for(coroutine):
    global loop
    import asyncio
    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():
            task.cancel()
            try:
                loop.run_until_complete(task)
            except BaseException:
                pass
        raise


def show(value):
    """Puts a value among the results: as an image if it is one, else as its repr."""
    if value is None:
        return
    shown = show_image(value)
    namespace['_'] = value
    text = repr(value)
    if not shown or len(text) <= 1000:
        outbox.append((b'r', text[:OUTPUT_LIMIT + 1].encode('utf-8', 'replace')))


def display(*values):
    """What notebooks call display(): an image, or the repr on stdout."""
    for value in values:
        if not show_image(value):
            print(repr(value))


def show_image(value):
    kind = type(value)
    for name, mime in (('_repr_png_', b'p'), ('_repr_jpeg_', b'j')):
        if hasattr(kind, name):
            data = getattr(value, name)()
            data = data[0] if isinstance(data, tuple) else data
            if isinstance(data, bytes):
                image(mime, data)
                return True
    # pyplot's own figures, which have a number, are shown at the end of the cell.
    if kind.__module__ == 'matplotlib.figure' and not hasattr(value, 'number'):
        save_figure(value)
        return True
    return False


def image(mime, data):
    outbox.append((b'i', mime + data))


def save_figure(figure):
    buffer = BytesIO()
    figure.savefig(buffer, format='png')
    image(b'p', buffer.getvalue())


def show_figures():
    pyplot = sys.modules.get('matplotlib.pyplot')
    if hasattr(pyplot, 'close'):  # an interrupted import leaves half a module
        try:
            for number in pyplot.get_fignums():
                save_figure(pyplot.figure(number))
        finally:
            pyplot.close('all')


def run(source, name):
    """Runs a cell and shows what it left; returns its exit code and what the worker may care about."""
    code, hints = guarded(lambda: show(execute(source, name)))
    if code != 130:
        figures, more = guarded(show_figures)
        code, hints = code or figures, hints | more
    flushed, more = guarded(flush)
    return code or flushed, hints | more


def guarded(step):
    try:
        step()
        return 0, 0
    except SystemExit as leave:
        if leave.code is None:
            return 0, 0
        if isinstance(leave.code, int):
            return leave.code & 255, 0
        print(leave.code, file=sys.stderr)
        return 1, 0
    except BaseException as error:
        complain(error)
        return 130 if isinstance(error, KeyboardInterrupt) else 1, hints_of(error)


def hints_of(error):
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, BlockingIOError) or str(error) == "can't start new thread":
        return PROCESSES
    if isinstance(error, OSError) and error.errno in (EFBIG, ENOSPC, EDQUOT):
        return DISK
    return 0


def complain(error):
    trace = users_part(error.__traceback__)
    error.__traceback__ = trace
    try:
        import traceback
        lines = traceback.format_exception(type(error), error, trace)
    except BaseException:  # no memory left for it, or a module of the user's in its place
        lines = [type(error).__name__, ': ', str(error), '\n']
    try:
        sys.stderr.write(''.join(lines))
    except BaseException:
        write(2, ''.join(lines).encode('utf-8', 'replace'))


def users_part(trace):
    """The traceback without our frames at its beginning and its end, and what they called."""
    first = trace
    while first is not None and not first.tb_frame.f_code.co_filename.startswith('<cell '):
        first = first.tb_next
    if first is None:
        return None
    frame = first
    while frame.tb_next is not None and frame.tb_next.tb_frame.f_code.co_filename != OURS:
        frame = frame.tb_next
    frame.tb_next = None
    return first


def flush():
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not getattr(stream, 'closed', False):
            stream.flush()


def open_streams():
    """Standard streams that pass on every line; closing them leaves the descriptors open."""
    for name, fd in (('stdout', 1), ('stderr', 2)):
        if getattr(getattr(sys, name), 'closed', True) or getattr(sys, name) is None:
            stream = open(fd, 'w', 1, 'utf-8', 'backslashreplace', closefd=False)
            setattr(sys, name, stream)
            setattr(sys, '__%s__' % name, stream)


def set_variables(pairs):
    for name in given - {name for name, _ in pairs}:
        forget_variable(name)
    given.clear()
    for name, value in pairs:
        given.add(name)
        environ[name] = value
        putenv(name, value)
        if 'os' in sys.modules:
            sys.modules['os'].environ[name.decode()] = value.decode('utf-8', 'replace')


def forget_variable(name):
    environ.pop(name, None)
    unsetenv(name)
    if 'os' in sys.modules:
        sys.modules['os'].environ.pop(name.decode(), None)


def ask(prompt=''):
    raise EOFError('input() has nobody to ask here: put the values into the code')


def explain(*subjects):
    import pydoc
    return pydoc.help(*subjects)


def ignore(number, frame):
    pass


def interruptible(source, name):
    """Runs a cell during which SIGINT is KeyboardInterrupt; before and after, it is nothing."""
    code, hints = 130, 0
    try:
        signal(SIGINT, default_int_handler)
        code, hints = run(source, name)
    except BaseException:
        pass  # between two steps of ours, or even complaining failed: a replaced sys.stderr
    while True:
        try:
            signal(SIGINT, ignore)
            return code, hints
        except KeyboardInterrupt:
            pass


def deliver(nonce):
    """Sends what the cell showed; true if some of it was too much."""
    room, cut = DISPLAY_LIMIT, False
    for kind, body in outbox:
        if kind == b'i':
            room -= len(body)
            if room < 0:
                cut = True
                continue
        send(kind, nonce, body)
    outbox.clear()
    return cut


def serve():
    me, cell = getpid(), 0
    send(b'R', bytes(16))
    while True:
        nonce, pairs, source = receive()
        cell += 1
        open_streams()
        set_variables(pairs)
        code, hints = interruptible(source, '<cell %d>' % cell)
        if getpid() != me:
            _exit(code)  # a fork of the cell has come to its end, which is not the cell's
        if deliver(nonce):
            hints |= CUT
        send(b'D', nonce, bytes((code, hints)))


close(PROGRAM)
set_inheritable(CHANNEL, False)
signal(SIGINT, ignore)
sys.stdout = sys.stderr = None
open_streams()
sys.path[:0] = ['']
sys.path += sys.argv[3:]
sys.argv[:] = ['']
sys.meta_path.insert(0, FillLinecache())
builtins = sys.modules['builtins']
builtins.input, builtins.help, builtins.display = ask, explain, display
builtins.exit = builtins.quit = sys.exit
agent, main = sys.modules['__main__'], type(sys)('__main__')
namespace = main.__dict__
namespace['__builtins__'] = builtins
sys.modules['__main__'] = main
serve()
