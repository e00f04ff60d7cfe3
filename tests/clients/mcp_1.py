"""The last official Python client of the initialize era (mcp 1.x) against URL.

usage: mcp_1.py URL [--key KEY]
"""

import argparse
import asyncio
from datetime import timedelta
from importlib.metadata import version

import httpx
from journey import journey
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from report import Report, describe, expect


class Agent:
    era = "legacy"

    def __init__(self, session: ClientSession):
        self.session = session

    async def tools(self):
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call(self, tool, arguments, progress=None, timeout=None):
        timeout = timedelta(seconds=timeout) if timeout else None
        result = await self.session.call_tool(tool, arguments, timeout, progress)
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)

    def is_timeout(self, error):
        return isinstance(error, McpError) and "timed out" in str(error).lower()

    def is_unknown_tool(self, error):
        return isinstance(error, McpError) and error.error.code == -32602


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key")
    options = parser.parse_args()
    report = Report(f"python mcp {version('mcp')}")
    headers = {"x-ms-apikey": options.key} if options.key else {}
    try:
        async with httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(30, read=300)) as http:
            async with streamable_http_client(options.url, http_client=http) as (read, write, session_id):
                async with ClientSession(read, write) as session:
                    with report.check("connects, without a session"):
                        hello = await session.initialize()
                        expect(hello.protocolVersion == "2025-11-25", f"speaks {hello.protocolVersion}")
                        expect(session_id() is None, f"was given a session: {session_id()}")
                    await journey(Agent(session), report, options.key is not None)
    except Exception as error:
        with report.check("runs to its end"):
            raise RuntimeError(describe(error)) from error
    report.exit()


asyncio.run(main())
