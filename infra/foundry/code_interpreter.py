#!/usr/bin/env python3
"""A custom code interpreter on a session pool of Azure Container Apps: the least that a Foundry agent needs for it.
code-interpreter.diff moves it to Baton.
"""

import os

from azure.ai.projects import AIProjectClient
from azure.ai.projects.models import MCPTool, PromptAgentDefinition
from azure.identity import DefaultAzureCredential

interpreter = MCPTool(
    server_label="code_interpreter",
    server_url=os.environ["MCP_SERVER_URL"],
    project_connection_id="session-pool",
    require_approval="never",
)
definition = PromptAgentDefinition(
    model=os.environ["FOUNDRY_MODEL_DEPLOYMENT_NAME"],
    instructions="Run Python for whatever has to be computed.",
    tools=[interpreter],
)

with (
    DefaultAzureCredential() as credential,
    AIProjectClient(endpoint=os.environ["FOUNDRY_PROJECT_ENDPOINT"], credential=credential) as project,
    project.get_openai_client() as openai,
):
    agent = project.agents.create_version(agent_name="code-interpreter", definition=definition)
    try:
        response = openai.responses.create(
            input="What is the sum of the first 100 squares?",
            extra_body={"agent_reference": {"name": agent.name, "type": "agent_reference"}},
        )
        print(response.output_text)
    finally:
        project.agents.delete_version(agent_name=agent.name, agent_version=agent.version)
