"""One scenario from start to end: deployment up, load on, faults at their times, deployment down, results written."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import plot
import series
from conductor import Conductor
from deployment import Deployment
from processes import Trouble

ROOT = Path(__file__).resolve().parents[2]
# Beyond the load: setup, what is in flight at the end, teardown.
AROUND_SECONDS = 300


class Rehearsal:
    def __init__(self, scenario: str, plan, options):
        self.scenario, self.plan, self.options = scenario, plan, options
        self.folder = (options.results / scenario).resolve()
        self.settings = self.settle()
        self.lines, self.held = [], True

    def settle(self) -> dict:
        """What the script is told: the plan's numbers, the short form's, the command line's; the last one counts."""
        settings = {"SECONDS": self.plan.seconds, **({"RATE": self.plan.rate} if self.plan.rate else {}), **self.plan.settings}
        settings.update(self.plan.short if self.options.short else {})
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
            except Trouble as trouble:
                self.verdict(False, f"{trouble}\n{deployment.tails()}")
            finally:
                wrong = deployment.stop()
                shutil.copytree(deployment.logs, self.folder / "logs", dirs_exist_ok=True)
            self.verdict(not wrong, "every process ends with 0 when it is told to" + "".join(f"\n{it}" for it in wrong))
        (self.folder / "summary.txt").write_text("\n".join(self.lines) + "\n")
        return self.held

    def load(self, deployment):
        samples = self.folder / "samples.csv.gz"
        with Conductor(self.plan.faults, deployment, float(self.settings["SECONDS"])) as conductor:
            self.k6(deployment, conductor, samples)
        if conductor.wrong:
            raise conductor.wrong
        if conductor.began_at is None:
            raise Trouble("the load never began")
        read = series.read(samples, conductor.began_at)
        samples.unlink(missing_ok=True)  # tens of megabytes; the series below is what they amount to
        self.finish(conductor, read)

    def k6(self, deployment, conductor, samples: Path):
        """The load itself. Its own exit code only repeats what its thresholds say."""
        summary = self.folder / "summary.json"
        env = {
            **os.environ, **deployment.environment(), **self.settings, "SCENARIO": self.scenario, "CONDUCTOR_URL": conductor.url,
            "SUMMARY": str(summary), "K6_CSV_TIME_FORMAT": "unix_milli", "K6_NO_USAGE_REPORT": "true",
        }
        command = [find_k6(), "run", "--quiet", "--address", "", "--out", f"csv={samples}", ROOT / f"loadtest/scenarios/{self.scenario}.js"]
        log = self.folder / "k6.log"
        with open(log, "w") as err:
            limit = float(self.settings["SECONDS"]) + AROUND_SECONDS
            ran = subprocess.run([str(it) for it in command], env=env, stdout=subprocess.PIPE, stderr=err, text=True, timeout=limit)
        if not summary.exists():
            raise Trouble(f"k6 ended with {ran.returncode} and no summary\n{log.read_text()[-3000:]}")
        for line in ran.stdout.splitlines():
            if not line.startswith(("ok load:", "FAIL load:")):
                self.say(line)
        self.complaints(log)
        for it in json.loads(summary.read_text())["verdicts"]:
            self.verdict(it["holds"], it["sentence"])

    def complaints(self, log: Path):
        """What the script said went wrong, the first of it."""
        for line in [it for it in log.read_text().splitlines() if "level=error" in it][:5]:
            self.say(f"  k6: {line}")

    def finish(self, conductor, samples: list):
        conductor.write(self.folder / "faults.json")
        for mark in conductor.marks:
            self.say(f"  {mark['seconds']:7.2f} s  {mark['what']}")
        seconds = series.by_second(samples)
        (self.folder / "series.json").write_text(json.dumps(seconds))
        title = f"{self.scenario}: {sum(it['done'] for it in seconds)} calls served in {len(seconds)} s"
        (self.folder / "plot.svg").write_text(plot.draw(title, seconds, conductor.marks))
        for holds, sentence in conductor.verdicts:
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
