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
var binary = replace(replace(loadTextContent('../workers/install'), '@URL@', binaryUrl), '@SHA256@', binarySha256)
var neighbours = replace(replace(replace(binary, '@VAULT@', vault.properties.vaultUri), '@GATEWAY@', gatewayUrl), '@OTLP@', otlpEndpoint)
var install = replace(neighbours, '@APPARMOR@', loadTextContent('../../apparmor.profile'))

resource keys 'Microsoft.KeyVault/vaults/secrets@2023-07-01' existing = [
  for i in range(0, count): {
    parent: vault
    name: 'worker-w${i}-key'
  }
]

// Who a worker is, what it has and where it is: all of it stays when its machine is replaced.
resource identities 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = [
  for i in range(0, count): {
    name: 'id-${name}-w${i}'
    location: location
    tags: tags
  }
]

resource disks 'Microsoft.Compute/disks@2024-03-02' = [
  for i in range(0, count): {
    name: 'disk-${name}-w${i}'
    location: location
    tags: tags
    sku: { name: 'Premium_LRS' }
    properties: { creationData: { createOption: 'Empty' }, diskSizeGB: diskGibibytes }
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

// A worker reads its own key, no other's, and none of the gateways'.
resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for i in range(0, count): {
    name: guid(vault.id, 'worker-w${i}-key', identities[i].id)
    scope: keys[i]
    properties: {
      roleDefinitionId: read
      principalId: identities[i].properties.principalId
      principalType: 'ServicePrincipal'
    }
  }
]

resource machines 'Microsoft.Compute/virtualMachines@2024-07-01' = [
  for i in range(0, count): {
    name: 'vm-${name}-w${i}'
    location: location
    tags: tags
    identity: {
      type: 'UserAssigned'
      userAssignedIdentities: { '${identities[i].id}': {} }
    }
    properties: {
      hardwareProfile: { vmSize: size }
      // Azure refuses another osProfile for a machine that is there: nothing in it may change from one deployment to the next.
      osProfile: {
        computerName: 'w${i}'
        adminUsername: 'baton-admin'
        customData: base64(loadTextContent('../workers/cloud-init.yaml'))
        linuxConfiguration: {
          disablePasswordAuthentication: true
          ssh: { publicKeys: [{ path: '/home/baton-admin/.ssh/authorized_keys', keyData: publicKey }] }
        }
      }
      storageProfile: {
        imageReference: { publisher: 'Canonical', offer: 'ubuntu-24_04-lts', sku: 'server', version: 'latest' }
        osDisk: { createOption: 'FromImage', deleteOption: 'Delete', managedDisk: { storageAccountType: 'Premium_LRS' } }
        // Environments live here.
        dataDisks: [{ lun: 0, createOption: 'Attach', deleteOption: 'Detach', managedDisk: { id: disks[i].id } }]
      }
      networkProfile: { networkInterfaces: [{ id: cards[i].id, properties: { deleteOption: 'Detach' } }] }
      securityProfile: {
        securityType: 'TrustedLaunch'
        uefiSettings: { secureBootEnabled: true, vTpmEnabled: true }
      }
    }
  }
]

// One machine after another, each only when the one before it is ready: a binary that does not start stops at the first.
@batchSize(1)
resource installs 'Microsoft.Compute/virtualMachines/runCommands@2024-07-01' = [
  for i in range(0, count): {
    parent: machines[i]
    name: 'baton'
    location: location
    tags: tags
    properties: {
      source: { script: replace(replace(install, '@ID@', 'w${i}'), '@CLIENT@', identities[i].properties.clientId) }
      timeoutInSeconds: 5400
      treatFailureAsDeploymentFailure: true
    }
    dependsOn: [reads]
  }
]
