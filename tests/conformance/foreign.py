"""The official Python client 2.x, in the modern era, with server-everything, a server with sessions, behind URL.

usage: foreign.py URL [--legacy]      (--legacy against the server itself says that the checks are right)
"""

import argparse
import asyncio

from mcp.client.client import Client
from mcp_types import PromptReference
from report import Report, describe, expect

TOOLS = {"echo", "get-sum", "get-structured-content", "get-tiny-image", "trigger-long-running-operation"}
DOCUMENT = "demo://resource/static/document/features.md"
WEATHER = {"temperature", "conditions", "humidity"}


async def journey(client: Client, report: Report):
    with report.check("its tools are listed"):
        listed = {tool.name for tool in (await client.list_tools()).tools}
        expect(TOOLS <= listed, f"without {TOOLS - listed}")
    with report.check("a tool is called"):
        result = await client.call_tool("echo", {"message": "ü 1"})
        expect(result.content[0].text == "Echo: ü 1", result)
        result = await client.call_tool("get-sum", {"a": 2, "b": 40})
        expect("42" in result.content[0].text, result)
    with report.check("structured content comes with its text"):
        result = await client.call_tool("get-structured-content", {"location": "New York"})
        expect(set(result.structured_content) == WEATHER, result)
    with report.check("an image comes"):
        result = await client.call_tool("get-tiny-image", {})
        expect(any(content.type == "image" for content in result.content), result)
    with report.check("progress comes while a tool runs"):
        steps = []

        async def progressed(done, total, message):
            steps.append((done, total))

        await client.call_tool("trigger-long-running-operation", {"duration": 1, "steps": 4}, progress_callback=progressed)
        expect(steps == [(step, 4) for step in range(1, 5)], steps)
    with report.check("resources and templates are listed and read"):
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        expect(DOCUMENT in listed, listed)
        templates = [template.uri_template for template in (await client.list_resource_templates()).resource_templates]
        expect("demo://resource/dynamic/text/{resourceId}" in templates, templates)
        read = await client.read_resource(DOCUMENT)
        expect("#" in read.contents[0].text, read)
        read = await client.read_resource("demo://resource/dynamic/text/1")
        expect("1" in read.contents[0].text, read)
    with report.check("prompts are listed and had"):
        listed = {prompt.name for prompt in (await client.list_prompts()).prompts}
        expect({"simple-prompt", "args-prompt"} <= listed, listed)
        had = await client.get_prompt("args-prompt", {"city": "Oslo"})
        expect("Oslo" in had.messages[0].content.text, had)
    with report.check("an argument is completed"):
        reference = PromptReference(type="ref/prompt", name="completable-prompt")
        completed = await client.complete(reference, {"name": "department", "value": "E"})
        expect(completed.completion.values == ["Engineering"], completed)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--legacy", action="store_true")
    options = parser.parse_args()
    report = Report("server-everything, python")
    try:
        async with Client(options.url, mode="legacy" if options.legacy else "auto") as client:
            with report.check("connects in its own era"):
                expect((client.protocol_version == "2026-07-28") != options.legacy, client.protocol_version)
            await journey(client, report)
    except Exception as error:
        with report.check("runs to its end"):
            raise RuntimeError(describe(error)) from error
    report.exit()


asyncio.run(main())
