#!/usr/bin/env bash
# The connection of connection.bicep by one REST call, which makes it or changes it; the answer's `id` is what agents name
# as project_connection_id. Needs jq and an Azure CLI that is logged in. The key goes through pipes, never onto a command line.
#
# usage: BATON_MCP_URL=https://…/mcp BATON_API_KEY=btk_… connection.sh SUBSCRIPTION RESOURCE-GROUP ACCOUNT PROJECT [CONNECTION]
set -euo pipefail
: "${BATON_MCP_URL:?the /mcp URL as Foundry reaches it}" "${BATON_API_KEY:?a key that Baton knows}"
[ $# -ge 4 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
export BATON_MCP_URL BATON_API_KEY

project="/subscriptions/$1/resourceGroups/$2/providers/Microsoft.CognitiveServices/accounts/$3/projects/$4"
url="https://management.azure.com$project/connections/${5:-baton}?api-version=2025-10-01-preview"

jq -n '{properties: {
  authType: "CustomKeys",
  category: "RemoteTool",
  target: env.BATON_MCP_URL,
  credentials: {keys: {"x-ms-apikey": env.BATON_API_KEY}}
}}' | az rest --method put --url "$url" --body @- --query id --output tsv
