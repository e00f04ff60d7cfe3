"""An agent of the OpenAI Agents SDK with Baton's tools: the SDK calls Baton itself, so a private address will do.

    pip install openai-agents && OPENAI_API_KEY=… BATON_KEY=… python3 openai_agents.py "What is the 100th prime?"
"""

import asyncio
import os
import sys

from agents import Agent, Runner
from agents.mcp import MCPServerStreamableHttp

URL = os.environ.get("BATON_URL", "https://baton.example.com/mcp")
# A call may run for 220 s unless it says otherwise; the SDK's own limit is 5 s.
SECONDS = 240


def baton() -> MCPServerStreamableHttp:
    headers = {"x-ms-apikey": os.environ["BATON_KEY"]}
    return MCPServerStreamableHttp(
        name="baton", params={"url": URL, "headers": headers}, client_session_timeout_seconds=SECONDS,
        cache_tools_list=True,
    )


async def main(question: str):
    async with baton() as server:
        agent = Agent(name="coder", instructions="Compute with Python in a sandbox.", mcp_servers=[server])
        print((await Runner.run(agent, question)).final_output)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
