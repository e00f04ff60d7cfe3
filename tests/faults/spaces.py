"""Networks and mounts of this run's own, in namespaces that end with it: nothing of them is left behind."""

import os
import subprocess

from processes import Process, Processes, Trouble, program

BRIDGE = "baton0"
COMMAND_SECONDS = 10


def unshare() -> list:
    """What to put before a command that changes networks and mounts."""
    # Who is not root stays who it is, for workers, and may do here what root may.
    ours = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    return [program("unshare"), "--net", "--mount", *ours]


def wake():
    """A new network has a loopback that is down."""
    ip("link", "set", "lo", "up")


def reserve(ports: set):
    """Keeps outgoing connections off these ports: a process that comes back would find its own one taken."""
    with open("/proc/sys/net/ipv4/ip_local_reserved_ports", "w") as reserved:
        reserved.write(",".join(map(str, sorted(ports))))


def bridge(address: str):
    """A bridge that we are at, too."""
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{address}/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")


def space(processes: Processes, name: str, address: str) -> Process:
    """A network namespace with one link to the bridge; it is there as long as its process."""
    holder = processes.run(f"space-{name}", [program("unshare"), "--net", program("sleep"), "3600"])
    ours, theirs = os.readlink("/proc/self/ns/net"), f"/proc/{holder.child.pid}/ns/net"
    holder.wait_for(lambda: os.readlink(theirs) != ours, "a network of its own")
    ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder.child.pid))
    ip("link", "set", name, "master", BRIDGE, "up")
    for words in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
        command([*inside(holder), program("ip"), *words])
    return holder


def inside(holder: Process) -> list:
    return [program("nsenter"), f"--net=/proc/{holder.child.pid}/ns/net"]


def isolate(links: tuple, switch: str):
    """Isolated links of a bridge reach what is here, and not one another."""
    for link in links:
        ip("link", "set", "dev", link, "type", "bridge_slave", "isolated", switch)


def ip(*words: str):
    command([program("ip"), *words])


def command(words: list):
    made = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=COMMAND_SECONDS)
    if made.returncode != 0:
        raise Trouble(f"{' '.join(map(str, words))}: {made.stderr.strip()}")


def mount_tmpfs(path, mebibytes: int):
    """A small disk."""
    command([program("mount"), "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "baton-faults", path])


def unmount_below(folder):
    """What was mounted there would keep the folder from going away."""
    points = [line.split(" ")[1] for line in open("/proc/self/mounts")]
    for point in points:
        if point.startswith(f"{folder}/"):
            command([program("umount"), "--lazy", point])
