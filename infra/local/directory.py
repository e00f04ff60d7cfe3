"""What replicas share: one Redis, or a master and two replicas with the three Sentinels that choose among them."""

from pathlib import Path

from processes import LOOPBACK, Processes, free_port, program

CONFIGURATION = Path(__file__).resolve().parents[1] / "redis"
REDIS = 3
SENTINELS = 3
SYNCED = "MASTER <-> REPLICA sync: Finished with success"


def start_one(processes: Processes) -> str:
    """A Redis alone; returns what --redis takes."""
    port = free_port()
    redis = processes.run("redis", [
        program("redis-server"), "--bind", LOOPBACK, "--port", port, "--save", "", "--appendonly", "no",
        "--dir", processes.folder,
    ])
    redis.wait_until_accepting(port)
    return f"redis://{LOOPBACK}:{port}"


def start_watched(processes: Processes) -> str:
    """The servers and their Sentinels, as infra/redis configures them; returns what --redis takes."""
    master = free_port()
    ports = [master] + [free_port() for _ in range(REDIS - 1)]
    for number, port in enumerate(ports, 1):
        folder = processes.folder / f"redis-{number}"
        folder.mkdir(exist_ok=True)
        # Sentinel has a server write down whom it follows now, and that is what it comes back with.
        own = folder / "redis.conf"
        own.write_text((CONFIGURATION / "redis.conf").read_text() + ("" if port == master else f"replicaof {LOOPBACK} {master}\n"))
        redis = processes.run(f"redis-{number}", [
            program("redis-server"), own, "--bind", LOOPBACK, "--port", port, "--dir", folder,
        ])
        redis.wait_until_accepting(port)
        if port != master:  # until then the master takes no writes
            redis.wait_for(lambda: SYNCED in redis.out.read_text(), "a first copy of the master's data")
    sentinels = [start_sentinel(processes, number, master) for number in range(1, SENTINELS + 1)]
    return f"redis+sentinel://{','.join(f'{LOOPBACK}:{port}' for port in sentinels)}/baton"


def start_sentinel(processes: Processes, number: int, master: int) -> int:
    port, folder = free_port(), processes.folder / f"sentinel-{number}"
    folder.mkdir(exist_ok=True)
    own = folder / "sentinel.conf"
    own.write_text(sentinel_conf(LOOPBACK, master))
    sentinel = processes.run(f"sentinel-{number}", [
        program("redis-sentinel"), own, "--bind", LOOPBACK, "--port", port, "--dir", folder,
    ])
    sentinel.wait_until_accepting(port)
    return port


def sentinel_conf(host: str, port: int) -> str:
    return f"sentinel monitor baton {host} {port} 2\n{(CONFIGURATION / 'sentinel.conf').read_text()}"
