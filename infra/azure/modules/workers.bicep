// Workers: machines, not a scale set, for each has a name, a key and a disk that stay with it.

param name string
param location string
param tags object
param subnetId string
param vaultName string
param count int
param binaryUrl string

@minLength(64)
@maxLength(64)
param binarySha256 string

@minLength(1)
param publicKey string

@minLength(1)
param gatewayUrl string
param otlpEndpoint string
param size string = 'Standard_D4s_v5'
param diskGibibytes int = 256

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: vaultName
}

// Key Vault Secrets User
var read = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
var cloudInit = loadTextContent('../workers/cloud-init.yaml')

resource keys 'Microsoft.KeyVault/vaults/secrets@2023-07-01' existing = [
  for i in range(0, count): {
    parent: vault
    name: 'worker-w${i}-key'
  }
]

resource cards 'Microsoft.Network/networkInterfaces@2024-05-01' = [
  for i in range(0, count): {
    name: 'nic-${name}-w${i}'
    location: location
    tags: tags
    properties: {
      ipConfigurations: [{ name: 'own', properties: { subnet: { id: subnetId } } }]
    }
  }
]

resource machines 'Microsoft.Compute/virtualMachines@2024-07-01' = [
  for i in range(0, count): {
    name: 'vm-${name}-w${i}'
    location: location
    tags: tags
    identity: { type: 'SystemAssigned' }
    properties: {
      hardwareProfile: { vmSize: size }
      osProfile: {
        computerName: 'w${i}'
        adminUsername: 'operator'
        customData: base64(replace(replace(replace(replace(replace(replace(cloudInit, '@ID@', 'w${i}'), '@VAULT@', vault.properties.vaultUri), '@GATEWAY@', gatewayUrl), '@OTLP@', otlpEndpoint), '@URL@', binaryUrl), '@SHA256@', binarySha256))
        linuxConfiguration: {
          disablePasswordAuthentication: true
          ssh: { publicKeys: [{ path: '/home/operator/.ssh/authorized_keys', keyData: publicKey }] }
        }
      }
      storageProfile: {
        imageReference: { publisher: 'Canonical', offer: 'ubuntu-24_04-lts', sku: 'server', version: 'latest' }
        osDisk: { createOption: 'FromImage', managedDisk: { storageAccountType: 'Premium_LRS' } }
        // Environments live here. It stays when the machine is deleted.
        dataDisks: [
          {
            lun: 0
            createOption: 'Empty'
            deleteOption: 'Detach'
            diskSizeGB: diskGibibytes
            managedDisk: { storageAccountType: 'Premium_LRS' }
          }
        ]
      }
      networkProfile: { networkInterfaces: [{ id: cards[i].id }] }
      securityProfile: {
        securityType: 'TrustedLaunch'
        uefiSettings: { secureBootEnabled: true, vTpmEnabled: true }
      }
    }
  }
]

// A worker reads its own key, no other's, and none of the gateways'.
resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for i in range(0, count): {
    name: guid(vault.id, 'worker-w${i}-key', machines[i].id)
    scope: keys[i]
    properties: {
      roleDefinitionId: read
      principalId: machines[i].identity.principalId
      principalType: 'ServicePrincipal'
    }
  }
]
