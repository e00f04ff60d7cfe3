#!/usr/bin/env python3
"""An agent of Azure AI Foundry that runs its code in an environment of Baton, and asks before each call.

    pip install azure-ai-projects azure-identity
    export FOUNDRY_PROJECT_ENDPOINT=https://ACCOUNT.services.ai.azure.com/api/projects/PROJECT
    export FOUNDRY_MODEL_DEPLOYMENT_NAME=gpt-4o
    export MCP_SERVER_URL=https://baton.example.com/mcp MCP_PROJECT_CONNECTION_ID=…   # what connection.sh printed
    python3 agent.py "Which primes are there below 50?"
"""

import json
import os
import sys

from azure.ai.projects import AIProjectClient
from azure.ai.projects.models import MCPTool, PromptAgentDefinition
from azure.identity import DefaultAzureCredential

LABEL = "baton"
QUESTION = "What is the sum of the first 100 squares? Compute it in Python."
INSTRUCTIONS = (
    "Answer by running code. Call launchShell once, pass the environmentId it returns verbatim to every other call, "
    "and call closeEnvironment when you are done. If there is a tool whoami, call it first."
)
# One approval for each call of a tool; an agent that wants more is going round in circles.
MAX_ROUNDS = 20


def main():
    baton = MCPTool(
        server_label=LABEL,
        server_url=os.environ["MCP_SERVER_URL"],
        project_connection_id=os.environ["MCP_PROJECT_CONNECTION_ID"],
        require_approval="always",
    )
    definition = PromptAgentDefinition(
        model=os.environ["FOUNDRY_MODEL_DEPLOYMENT_NAME"], instructions=INSTRUCTIONS, tools=[baton]
    )
    with (
        DefaultAzureCredential() as credential,
        AIProjectClient(endpoint=os.environ["FOUNDRY_PROJECT_ENDPOINT"], credential=credential) as project,
        project.get_openai_client() as openai,
    ):
        agent = project.agents.create_version(agent_name="baton-agent", definition=definition)
        print(f"agent {agent.name}, version {agent.version}")
        try:
            print(answer(openai, agent.name, " ".join(sys.argv[1:]) or QUESTION))
        finally:
            project.agents.delete_version(agent_name=agent.name, agent_version=agent.version)


def answer(openai, agent: str, question: str) -> str:
    """Asks, and approves what the agent wants of Baton until it has its answer."""
    reference = {"agent_reference": {"name": agent, "type": "agent_reference"}}
    response = openai.responses.create(input=question, extra_body=reference)
    for _ in range(MAX_ROUNDS):
        for item in response.output:
            show(item)
        approvals = [approval(item) for item in response.output if item.type == "mcp_approval_request"]
        if not approvals:
            return response.output_text
        response = openai.responses.create(input=approvals, previous_response_id=response.id, extra_body=reference)
    sys.exit(f"no answer within {MAX_ROUNDS} rounds: give the agent a smaller question")


def approval(request) -> dict:
    """Says yes to Baton, whose code can reach nothing but its own environment, and no to any other server."""
    return {
        "type": "mcp_approval_response",
        "approval_request_id": request.id,
        "approve": request.server_label == LABEL,
    }


def show(item):
    if item.type == "mcp_approval_request":
        print(f"approving {item.name} {item.arguments}")
    elif item.type == "mcp_call":
        print(f"{item.name} -> {item.error or item.output}{served_by(item.output)}")


def served_by(output) -> str:
    """The gateway that answered: whoami (--sample-tools) says it in its output. Every answer has it in a header and in
    `_meta` too, which the service keeps to itself."""
    try:
        replica = json.loads(output or "")["instance_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" (replica {replica})"


if __name__ == "__main__":
    main()
