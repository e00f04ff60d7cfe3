metadata description = 'The project connection through which agents of an Azure AI Foundry project reach Baton.'

@description('The Foundry account (Microsoft.CognitiveServices/accounts, kind AIServices) that holds the project.')
param accountName string

@description('The project whose agents call Baton.')
param projectName string

@description('The name under which agents refer to the connection.')
@minLength(3)
@maxLength(33)
param connectionName string = 'baton'

@description('Baton\'s MCP endpoint as Foundry reaches it, for example https://baton.example.com/mcp. It wins over server_url of a tool.')
param mcpUrl string

@description('A key that Baton knows: baton key api --tenant TENANT --subject SUBJECT.')
@secure()
param apiKey string

resource account 'Microsoft.CognitiveServices/accounts@2025-10-01-preview' existing = {
  name: accountName

  resource project 'projects' existing = {
    name: projectName
  }
}

resource connection 'Microsoft.CognitiveServices/accounts/projects/connections@2025-10-01-preview' = {
  parent: account::project
  name: connectionName
  properties: {
    authType: 'CustomKeys'
    category: 'RemoteTool'
    target: mcpUrl
    credentials: {
      keys: {
        'x-ms-apikey': apiKey
      }
    }
  }
}

@description('What an agent names as project_connection_id.')
output connectionId string = connection.id
