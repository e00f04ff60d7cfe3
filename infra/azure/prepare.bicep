// What has to be there before a gateway can start: a registry that holds its image, a vault that holds its keys.

param location string = resourceGroup().location
param registryName string
param vaultName string

@description('Object id of who writes the keys into the vault.')
param operatorId string

@description('What the operator is: User, or ServicePrincipal in a pipeline.')
@allowed(['User', 'ServicePrincipal'])
param operatorType string = 'User'

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: registryName
  location: location
  sku: { name: 'Standard' }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
  }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: vaultName
  location: location
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
  }
}

// Key Vault Secrets Officer
var officer = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')

resource operatorWrites 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, operatorId, officer)
  scope: vault
  properties: {
    roleDefinitionId: officer
    principalId: operatorId
    principalType: operatorType
  }
}

output registryServer string = registry.properties.loginServer
