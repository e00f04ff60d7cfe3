"""The official Python client 2.x listens at one gateway until that is told to stop, then at another.

usage: listen_2.py FIRST-URL SECOND-URL KEY      prints `listening` when the first gateway may stop

The client takes the server's `notifications/cancelled` for a stream that was lost, which tells its user to listen again.
"""

import asyncio
import sys
from contextlib import asynccontextmanager

from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated, SubscriptionLost
from mcp.shared._httpx_utils import create_mcp_http_client
from report import Report, describe, expect

SECONDS = 60


@asynccontextmanager
async def connected(url, key):
    async with create_mcp_http_client(headers={"x-ms-apikey": key}) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            yield client


async def told(client, environment, subscription):
    """Uses the environment and waits for the news of it."""
    arguments = {"environmentId": environment, "pythonCode": "1"}
    await client.call_tool("runPythonCodeInRemoteEnvironment", arguments)
    event = await asyncio.wait_for(anext(subscription), SECONDS)
    expect(event == ResourceUpdated(uri=f"baton://environments/{environment}"), f"told {event}")


async def main():
    first, second, key = sys.argv[1:]
    report = Report("python listen")
    try:
        async with connected(first, key) as client:
            launched = await client.call_tool("launchShell", {})
            environment = launched.structured_content["environmentId"]
            wanted = {"resource_subscriptions": [f"baton://environments/{environment}"], "tools_list_changed": True}
            with report.check("a stream ends when its replica stops, and its user learns to listen again"):
                async with client.listen(**wanted) as subscription:
                    expect(subscription.honored.resource_subscriptions == wanted["resource_subscriptions"], "not honored")
                    expect(subscription.honored.tools_list_changed, "not honored")
                    await told(client, environment, subscription)
                    print("listening", flush=True)
                    try:
                        event = await asyncio.wait_for(anext(subscription), SECONDS)
                        raise AssertionError(f"told {event}")
                    except SubscriptionLost:
                        pass
        async with connected(second, key) as client:
            with report.check("goes on at another replica"):
                async with client.listen(**wanted) as subscription:
                    await told(client, environment, subscription)
    except Exception as error:
        with report.check("runs to its end"):
            raise RuntimeError(describe(error)) from error
    report.exit()


asyncio.run(main())
