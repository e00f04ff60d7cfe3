"""One scenario from start to end: deployment up, load on, faults at their times, deployment down, results written."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import plot
import series
from conductor import Conductor
from deployment import Deployment
from processes import Trouble

ROOT = Path(__file__).resolve().parents[2]
# Beyond the load: setup, what is in flight at the end, teardown.
AROUND_SECONDS = 300
# k6 came to its end, and all its thresholds held, or some did not: which of them, its summary says.
TO_ITS_END = (0, 99)


@dataclass(frozen=True)
class Results:
    """What a plan's own verdicts judge, and where they may leave something."""

    name: str
    folder: Path
    settings: dict
    samples: list
    marks: list


class Rehearsal:
    """One run; what is said of it goes to the terminal and to summary.txt alike."""

    def __init__(self, scenario: str, plan, options):
        self.scenario, self.options = scenario, options
        self.plan = plan.in_short() if options.short else plan
        self.folder = (options.results / scenario).resolve()
        self.settings = self.settle()
        self.lines, self.held = [], True

    def settle(self) -> dict:
        """What the script is told: the plan's numbers, then the command line's, which count more."""
        settings = {"SECONDS": self.plan.seconds, **({"RATE": self.plan.rate} if self.plan.rate else {}), **self.plan.settings}
        asked = {"SECONDS": self.options.seconds, "RATE": self.options.rate}
        settings.update({name: value for name, value in asked.items() if value})
        settings.update(pair.split("=", 1) for pair in self.options.set)
        return {name: str(value) for name, value in settings.items()}

    def run(self) -> bool:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.say(f"== {self.scenario}: " + ", ".join(f"{name} {value}" for name, value in self.settings.items()))
        with tempfile.TemporaryDirectory(prefix="baton-load-") as scratch:
            deployment = Deployment(Path(scratch), self.options.baton, self.plan)
            try:
                deployment.start()
                self.load(deployment)
            except (Trouble, OSError, subprocess.TimeoutExpired) as trouble:
                self.verdict(False, f"{trouble}\n{deployment.tails()}")
            finally:
                wrong = deployment.stop()
                shutil.copytree(deployment.logs, self.folder / "logs", dirs_exist_ok=True)
            self.verdict(not wrong, "every process ends with 0 when it is told to" + "".join(f"\n{it}" for it in wrong))
        (self.folder / "summary.txt").write_text("\n".join(self.lines) + "\n")
        return self.held

    def load(self, deployment):
        samples, summary = self.folder / "samples.csv.gz", self.folder / "summary.json"
        with Conductor(deployment, float(self.settings["SECONDS"])) as conductor:
            code = self.k6(deployment, conductor, samples, summary)
        log = self.folder / "k6.log"
        if conductor.began_at is None or not summary.exists():
            raise Trouble(f"k6 ended with {code} before the load did\n{log.read_text()[-3000:]}")
        self.complaints(log)
        self.verdict(code in TO_ITS_END, f"k6 comes to its end, teardown included (it ended with {code})")
        self.finish(conductor, samples, json.loads(summary.read_text()))

    def k6(self, deployment, conductor, samples: Path, summary: Path) -> int:
        """The load, and its faults beside it. The code says whether the script got to its end, which no threshold does."""
        env = {
            **os.environ, **deployment.environment(), **self.settings, "SCENARIO": self.scenario, "CONDUCTOR_URL": conductor.url,
            "SUMMARY": str(summary), "K6_CSV_TIME_FORMAT": "unix_milli", "K6_NO_USAGE_REPORT": "true",
        }
        script = ROOT / f"loadtest/scenarios/{self.scenario}.js"
        command = [find_k6(), "run", "--quiet", "--address", "", "--out", f"csv={samples}", str(script)]
        with open(self.folder / "k6.log", "w") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as k6:
            try:
                conductor.play(self.plan.faults, k6)
                return k6.wait(float(self.settings["SECONDS"]) + AROUND_SECONDS)
            finally:
                k6.kill()

    def complaints(self, log: Path):
        """What the script said went wrong, the first of it."""
        for line in [it for it in log.read_text().splitlines() if "level=error" in it][:5]:
            self.say(f"  k6: {line}")

    def finish(self, conductor, samples: Path, summary: dict):
        """What is kept of a run, and the judgement of it: the script's, the conductor's, and that of both together."""
        conductor.write(self.folder / "faults.json")
        read = series.read(samples, conductor.began_at)
        samples.unlink()  # tens of megabytes; the series below is what they amount to
        seconds = series.by_second(read, int(self.settings["SECONDS"]))
        (self.folder / "series.json").write_text(json.dumps(seconds))
        title = f"{self.scenario}: {sum(it['done'] for it in seconds)} calls served in {len(seconds)} s"
        (self.folder / "plot.svg").write_text(plot.over_time(title, seconds, conductor.marks))
        for line in summary["lines"]:
            self.say(line)
        for mark in conductor.marks:
            self.say(f"  {mark['seconds']:7.2f} s  {mark['what']}")
        results = Results(self.scenario, self.folder, self.settings, read, conductor.marks)
        script = [(it["holds"], it["sentence"]) for it in summary["verdicts"]]
        for holds, sentence in [*script, *conductor.verdicts, *self.plan.verdicts(results)]:
            self.verdict(holds, sentence)

    def verdict(self, holds: bool, sentence: str):
        self.held = self.held and holds
        self.say(f"{'ok' if holds else 'FAIL'} load: {self.scenario}: {sentence}")

    def say(self, line: str):
        self.lines.append(line)
        print(line, flush=True)


def find_k6() -> str:
    tools = Path(os.environ.get("TEST_TOOLS", ROOT / "target/test-tools"))
    k6 = tools / "k6/bin/k6"
    if not os.access(k6, os.X_OK):
        subprocess.run([ROOT / "tests/install"], check=True, stdout=sys.stderr)
    return str(k6)
