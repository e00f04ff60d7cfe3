using './connection.bicep'

param accountName = readEnvironmentVariable('FOUNDRY_ACCOUNT')
param projectName = readEnvironmentVariable('FOUNDRY_PROJECT')
param mcpUrl = readEnvironmentVariable('BATON_MCP_URL')
param apiKey = readEnvironmentVariable('BATON_API_KEY')
