"""What happens to a deployment while it is under load, scenario by scenario; each returns when the last thing is done."""

import keys
from serving import metric

JOIN_SECONDS = 10
MOST_UNEVEN = 0.8


def none(_conductor):
    """Nothing: the load alone."""


def rolling_restart(conductor):
    """Each gateway, then each worker: told to stop, gone, and back before the next."""
    deployment = conductor.deployment
    conductor.wait_until(1)
    for name in deployment.gateway_names() + deployment.worker_names():
        restart(conductor, name)
    in_time(conductor, "all were restarted")


def in_time(conductor, what: str):
    conductor.judge(conductor.is_time_left(0), f"{what} by second {conductor.now():.0f} of {conductor.seconds:.0f}")


def restart(conductor, name: str):
    process = conductor.deployment.named(name)
    conductor.mark(f"SIGTERM {name}")
    stop(conductor, process)
    conductor.deployment.start_again(process)
    conductor.mark(f"{name} back", "back")


def stop(conductor, process):
    if (code := process.stop()) != 0:
        conductor.judge(False, f"{process.name} ended with {code} on SIGTERM")


def kill_gateways(every: float):
    return lambda conductor: kill_in_turn(conductor, conductor.deployment.gateway_names(), every)


def kill_workers(every: float):
    return lambda conductor: kill_in_turn(conductor, conductor.deployment.worker_names(), every)


def kill_in_turn(conductor, names: list, every: float):
    """The next one each so many seconds, away for a quarter of them, while there is time for it to come back under load."""
    turn, count = conductor.deployment.in_turn(names), 0
    while conductor.is_time_left(2 * every):
        conductor.wait_until((count + 1) * every)
        process, count = next(turn), count + 1
        process.kill()
        conductor.mark(f"kill -9 {process.name}")
        conductor.rest(every / 4)
        conductor.deployment.start_again(process)
        conductor.mark(f"{process.name} back", "back")
    conductor.judge(count > 0, f"{count} were killed under load")


def kill_master(conductor):
    """The first Redis is the master at the start; it comes back as a replica when another has long been chosen."""
    master = conductor.deployment.named("redis-1")
    conductor.wait_until(conductor.seconds / 4)
    master.kill()
    conductor.mark("kill -9 the Redis master")
    conductor.wait_until(3 * conductor.seconds / 4)
    conductor.deployment.start_again(master)
    conductor.mark("it is back, as a replica", "back")


def scale_out(conductor):
    """A second gateway, a third, a second worker; of the worker is asked here whether it has its share."""
    deployment, quarter = conductor.deployment, conductor.seconds / 4
    for number in (2, 3):
        conductor.wait_until((number - 1) * quarter)
        deployment.add_gateways(1)
        conductor.mark(f"gateway-{number} joins")
    conductor.wait_until(3 * quarter)
    deployment.add_workers(1)
    conductor.mark("worker-2 joins")
    before = creates(deployment)
    conductor.rest(JOIN_SECONDS)
    old, new = (after - earlier for after, earlier in zip(creates(deployment), before))
    is_fair = new >= MOST_UNEVEN * (old + new) / 2
    conductor.judge(is_fair, f"worker-2 was given {new:.0f} of {old + new:.0f} environments in its first {JOIN_SECONDS} s")


def creates(deployment) -> list:
    return [metric(url, "baton_rpc_duration_seconds_count", verb="create") for url in deployment.workers]


def rotate_keys(life: float):
    """As the README says: the new key second on every replica, then first, and the old one away when no handle lives that it signed."""

    def rotate(conductor):
        deployment = conductor.deployment
        ring = keys.Rotation(deployment)
        conductor.wait_until(1)
        conductor.mark("new keys second")
        roll(conductor, deployment.gateway_names(), ring.new_second)
        conductor.mark("new keys first")
        roll(conductor, deployment.gateway_names(), ring.new_first)
        conductor.mark("workers' new keys")
        roll(conductor, deployment.worker_names(), ring.workers_new)
        conductor.rest(2 * life)
        conductor.mark("old keys retired")
        roll(conductor, deployment.gateway_names(), ring.old_gone)
        in_time(conductor, "the keys were exchanged")
        known = len(deployment.workers)
        ring.start_worker_of_old_root()
        conductor.rest(JOIN_SECONDS / 2)
        heard = [int(metric(url, "baton_workers", state="serving")) for url in deployment.internal]
        conductor.judge(set(heard) == {known}, f"a worker of the retired root is not taken in: {heard} serve, {known} may")

    return rotate


def roll(conductor, names: list, change):
    """One process after another ends, is changed, and comes back."""
    for name in names:
        process = conductor.deployment.named(name)
        stop(conductor, process)
        change(process)
        conductor.deployment.start_again(process)
