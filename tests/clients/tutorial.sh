#!/usr/bin/env bash
# The curl calls that the replaced platform's tutorials tell people to type, with only URL and key exchanged:
# initialize without params, string ids, Accept */*, no version header, `echo $ANSWER | jq` without quotes.
#
# usage: tutorial.sh URL [KEY]
set -u
MCP_ENDPOINT=$1 API_KEY=${2:-}
failed=0

# check NAME JSON FILTER: the filter must be true of the answer.
check() {
  if [ "$(jq "$3" <<<"$2" 2>&1)" = true ]; then
    echo "ok tutorial: $1"
  else
    echo "FAIL tutorial: $1: not true: $3 of $(tr '\n' ' ' <<<"$2" | cut -c 1-500)"
    failed=1
  fi
}

send() {
  curl -sS -m 60 -X POST "$MCP_ENDPOINT" -H "Content-Type: application/json" -H "x-ms-apikey: $API_KEY" -d "$1"
}

call() { # call ID TOOL MORE-ARGUMENTS
  send '{
        "jsonrpc": "2.0",
        "id": "'"$1"'",
        "method": "tools/call",
        "params": {
            "name": "'"$2"'",
            "arguments": {
                "environmentId": "'"$ENVIRONMENT_ID"'",
                '"$3"'
            }
        }
    }'
}

ANSWER=$(send '{ "jsonrpc": "2.0", "id": "1", "method": "initialize" }')
check "initialize needs no params and keeps a string id" "$ANSWER" '.id == "1" and .result.protocolVersion == "2025-03-26"'
check "initialize names the server and what tools can do" "$ANSWER" \
  '(.result.serverInfo.name | length > 0) and .result.capabilities.tools.call == true and .result.capabilities.tools.list == true'

ANSWER=$(send '{ "jsonrpc": "2.0", "id": "init", "method": "initialize", "params": { "clientInfo": { "name": "smoke", "version": "0.1.0" }, "protocolVersion": "2025-03-26" } }')
check "initialize needs no capabilities" "$ANSWER" '.id == "init" and .result.protocolVersion == "2025-03-26"'

ANSWER=$(send '{ "jsonrpc": "2.0", "id": "list", "method": "tools/list", "params": {} }')
check "tools/list comes without any handshake" "$ANSWER" '[.result.tools[].name] | index("launchShell") != null'

for launch in launchShell launchPythonEnvironment; do
  ENVIRONMENT_RESPONSE=$(send '{ "jsonrpc": "2.0", "id": "2", "method": "tools/call", "params": { "name": "'$launch'", "arguments": {} } }')
  check "$launch" "$ENVIRONMENT_RESPONSE" '.id == "2" and (.result.structuredContent.environmentId | startswith("bte_"))'
  # shellcheck disable=SC2086  # unquoted as the tutorials have it
  ENVIRONMENT_ID=$(echo $ENVIRONMENT_RESPONSE | jq -r '.result.structuredContent.environmentId')
  check "jq finds the id of $launch" "\"$ENVIRONMENT_ID\"" 'startswith("bte_") and length == 64'
done

# Some shells' echo turns backslash-n into a line end, which breaks JSON: zsh, the default of macOS, and dash.
ENVIRONMENT_ID=$(ENVIRONMENT_RESPONSE=$ENVIRONMENT_RESPONSE sh -c 'echo $ENVIRONMENT_RESPONSE' | jq -r '.result.structuredContent.environmentId' 2>&1)
check "jq finds it behind an echo that reads backslashes" "$(jq -Rn --arg id "$ENVIRONMENT_ID" '$id')" 'startswith("bte_")'
# shellcheck disable=SC2086
ENVIRONMENT_ID=$(echo $ENVIRONMENT_RESPONSE | jq -r '.result.structuredContent.environmentId')

ANSWER=$(call 3 runPythonCodeInRemoteEnvironment '"pythonCode": "import sys; print(f\"Python {sys.version}\")"')
check "Python tells its version" "$ANSWER" '.id == "3" and (.result.structuredContent.stdout | startswith("Python 3."))'

ANSWER=$(call 4 runPythonCodeInRemoteEnvironment '"pythonCode": "import math\nresults = {n: math.factorial(n) for n in range(1, 11)}\nfor k, v in results.items():\n    print(f\"{k}! = {v}\")"')
check "Python prints ten factorials" "$ANSWER" '.result.structuredContent.stdout | contains("10! = 3628800")'

ANSWER=$(call 5 runShellCommandInRemoteEnvironment '"shellCommand": "echo Hello from the shell!"')
check "a shell command as a string" "$ANSWER" '.result.structuredContent.stdout == "Hello from the shell!\n" and .result.structuredContent.exitCode == 0'

ANSWER=$(call 6 runShellCommandInRemoteEnvironment '"shellCommand": "cat /etc/os-release && uname -a"')
check "the operating system shows itself" "$ANSWER" '(.result.structuredContent.stdout | contains("Linux")) and .result.structuredContent.exitCode == 0'

# shellcheck disable=SC2016  # the point is that nobody expands it
ANSWER=$(call 7 runShellCommandInRemoteEnvironment '"execCommandAndArgs": ["echo", "two  words", "$HOME"]')
# shellcheck disable=SC2016
check "a shell command as a list" "$ANSWER" '.result.structuredContent.stdout == "two  words $HOME\n"'

STATUS=$(curl -sS -m 60 -o /dev/null -w '%{http_code}' -X POST "$MCP_ENDPOINT" -H "Content-Type: application/json" \
  -H "x-ms-apikey: not-the-key" -d '{ "jsonrpc": "2.0", "id": "8", "method": "tools/list" }')
[ -z "$API_KEY" ] || check "another key is refused" "$STATUS" '. == 401'

exit $failed
