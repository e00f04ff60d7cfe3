"""infra/seccomp.json: each of its names is a system call, what it lists is refused, and under it a worker has its namespaces."""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROFILE = json.loads(Path("infra/seccomp.json").read_text())
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
OPERATORS = {"SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
# Calls without side effects if they were allowed after all, and what the profile answers.
REFUSED = {
    "ptrace": ((0x4206, 1, 0, 0), 1),
    "setns": ((-1, 0), 1),
    "bpf": ((-1, 0, 0), 1),
    "io_uring_setup": ((0, 0), 1),
    "open_by_handle_at": ((-1, 0, 0), 1),
    "init_module": ((0, 0, 0), 1),
    "clone": ((0x10000000 | 0x80000000, 0, 0, 0, 0), 1),
    "clone3": ((0, 0), 38),
    "socket": ((38, 5, 0), 97),
}


class Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
libc = ctypes.CDLL(None, use_errno=True)
failed = False


def check(what, why):
    global failed
    failed = failed or bool(why)
    print(f"FAIL {what}: {why}" if why else f"ok {what}", flush=True)


def number(name):
    return library.seccomp_syscall_resolve_name(name.encode())


def install():
    assert PROFILE["defaultAction"] == "SCMP_ACT_ALLOW"
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    for rule in PROFILE["syscalls"]:
        assert rule["action"] == "SCMP_ACT_ERRNO", rule
        given = rule.get("args", [])
        compared = (Comparison * len(given))(
            *(Comparison(it["index"], OPERATORS[it["op"]], it["value"], it.get("valueTwo", 0)) for it in given)
        )
        action = ctypes.c_uint32(ERRNO | rule["errnoRet"])
        for name in rule["names"]:
            added = library.seccomp_rule_add_array(context, action, number(name), len(given), compared)
            # EDOM: this architecture has no such call.
            assert added in (0, -33), (name, added)
    assert library.seccomp_load(context) == 0


def under(work):
    """What a child says that has installed the profile."""
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            install()
            os.write(write, work().encode())
        except BaseException as error:
            os.write(write, f"{error!r}".encode())
        os._exit(0)
    os.close(write)
    said = os.fdopen(read).read()
    os.waitpid(child, 0)
    return said


def refused():
    wrong = []
    for name, (arguments, errno) in REFUSED.items():
        ctypes.set_errno(0)
        answer = libc.syscall(number(name), *(ctypes.c_long(it) for it in arguments))
        if (answer, ctypes.get_errno()) != (-1, errno):
            wrong.append(f"{name} answers {answer}, errno {ctypes.get_errno()}")
    return ", ".join(wrong)


def doctor(binary, folder):
    key = subprocess.run([binary, "key", "worker-root"], capture_output=True, text=True, check=True).stdout
    root, worker = Path(folder, "root.key"), Path(folder, "w1.key")
    root.touch(0o600), worker.touch(0o600)
    root.write_text(key)
    made = [binary, "key", "worker", "--root", root, "--id", "w1"]
    worker.write_text(subprocess.run(made, capture_output=True, text=True, check=True).stdout)
    command = [binary, "doctor", "--worker-key-file", worker, "--data-dir", f"{folder}/data"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    runtime = [line for line in said.splitlines() if "runtime:" in line]
    return "" if runtime and runtime[0].startswith("ok   runtime: embedded") else "; ".join(runtime) or said


names = [name for rule in PROFILE["syscalls"] for name in rule["names"]]
check("each name of the seccomp profile is a system call", ", ".join(it for it in names if number(it) == -1))
check("the seccomp profile refuses what it lists", under(refused))
binary = next((it for it in ("target/release/baton", "target/debug/baton") if os.path.exists(it)), None)
with tempfile.TemporaryDirectory() as folder:
    why = under(lambda: doctor(binary, folder)) if binary else "build baton first: cargo build --release"
    check("under the seccomp profile the embedded runtime works", why)
sys.exit(failed)
