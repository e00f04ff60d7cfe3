"""The official Python client 2.x against URL: default start (server/discover), or `--legacy` (initialize).

usage: mcp_2.py URL [--key KEY] [--legacy]
"""

import argparse
import asyncio
from importlib.metadata import version

from journey import journey
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError
from report import Report, describe, expect


class Agent:
    def __init__(self, client: Client, era: str):
        self.client, self.era = client, era

    async def tools(self):
        return [tool.name for tool in (await self.client.list_tools(cache_mode="bypass")).tools]

    async def call(self, tool, arguments, progress=None, timeout=None):
        result = await self.client.call_tool(tool, arguments, timeout, progress)
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)

    def is_timeout(self, error):
        return isinstance(error, MCPError) and "timed out" in str(error).lower()

    def is_unknown_tool(self, error):
        return isinstance(error, MCPError) and error.error.code == -32602


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key")
    parser.add_argument("--legacy", action="store_true")
    options = parser.parse_args()
    era = "legacy" if options.legacy else "modern"
    report = Report(f"python mcp {version('mcp')} {era}")
    http = create_mcp_http_client(headers={"x-ms-apikey": options.key} if options.key else None)
    try:
        async with http:
            transport = streamable_http_client(options.url, http_client=http)
            async with Client(transport, mode="legacy" if options.legacy else "auto") as client:
                with report.check("connects"):
                    spoken = client.protocol_version
                    expect((spoken == "2026-07-28") == (era == "modern"), f"speaks {spoken}")
                    expect(client.server_info is not None, "no serverInfo")
                await journey(Agent(client, era), report, options.key is not None)
    except Exception as error:
        with report.check("runs to its end"):
            raise RuntimeError(describe(error)) from error
    report.exit()


asyncio.run(main())
