// Baton on Azure: gateways on Container Apps (or App Service), workers on virtual machines, Azure Managed Redis between
// the replicas. What the parameters mean and what has been tried is in README.md beside this file.
targetScope = 'subscription'

@minLength(1)
@maxLength(24)
param environmentName string

@minLength(1)
param location string

@description('The registry and the vault that prepare.bicep made, in the resource group of this environment.')
param registryName string
param vaultName string

@description('The image with its tag or digest, such as REGISTRY.azurecr.io/baton:0.1.0.')
@minLength(1)
param image string

@allowed(['containerapps', 'appservice'])
param host string = 'containerapps'

@description('internal: for the virtual network alone. external: an Application Gateway with a public address before it.')
@allowed(['internal', 'external'])
param ingress string = 'internal'

@description('The name that clients use, where ingress is external.')
param publicHostName string = ''

@description('Secret id of its certificate in the vault, where ingress is external.')
param certificateSecretId string = ''

@minValue(0)
@maxValue(50)
param workerCount int = 2

@description('An https address of the baton binary for the workers, and its SHA-256 in hexadecimal.')
param workerBinaryUrl string = ''
param workerBinarySha256 string = ''

@description('An SSH public key for the workers. Nothing can reach their SSH from outside the virtual network.')
param workerPublicKey string = ''

@minValue(3)
param minReplicas int = 3
@maxValue(300)
param maxReplicas int = 20

var tags = { 'azd-env-name': environmentName }
var onContainerApps = host == 'containerapps'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module network 'modules/network.bicep' = {
  name: 'network'
  scope: group
  params: { name: environmentName, location: location, tags: tags }
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: { name: environmentName, location: location, tags: tags, registryName: registryName, vaultName: vaultName }
}

module telemetry 'modules/telemetry.bicep' = {
  name: 'telemetry'
  scope: group
  params: { name: environmentName, location: location, tags: tags }
}

module redis 'modules/redis.bicep' = {
  name: 'redis'
  scope: group
  params: {
    name: environmentName
    location: location
    tags: tags
    vaultName: vaultName
    subnetId: network.outputs.endpointsSubnetId
    networkId: network.outputs.networkId
  }
}

module environment 'modules/environment.bicep' = if (onContainerApps) {
  name: 'environment'
  scope: group
  params: {
    name: environmentName
    location: location
    tags: tags
    subnetId: network.outputs.appsSubnetId
    networkId: network.outputs.networkId
    workspaceName: telemetry.outputs.workspaceName
  }
}

module collector 'modules/collector.bicep' = if (onContainerApps) {
  name: 'collector'
  scope: group
  params: {
    location: location
    tags: tags
    environmentName: environment!.outputs.name
    insightsName: telemetry.outputs.insightsName
  }
}

module gateway 'modules/gateway.bicep' = if (onContainerApps) {
  name: 'gateway'
  scope: group
  params: {
    location: location
    tags: tags
    environmentName: environment!.outputs.name
    identityId: identity.outputs.id
    registryName: registryName
    vaultName: vaultName
    image: image
    redisSecretName: redis.outputs.secretName
    edgeNetwork: network.outputs.edgeNetwork
    otlpEndpoint: collector!.outputs.endpoint
    minReplicas: minReplicas
    maxReplicas: maxReplicas
  }
}

module edge 'modules/edge.bicep' = if (onContainerApps && ingress == 'external') {
  name: 'edge'
  scope: group
  params: {
    name: environmentName
    location: location
    tags: tags
    subnetId: network.outputs.edgeSubnetId
    identityId: identity.outputs.id
    backendHost: gateway!.outputs.hostName
    publicHostName: publicHostName
    certificateSecretId: certificateSecretId
  }
}

module appService 'modules/appservice.bicep' = if (!onContainerApps) {
  name: 'appservice'
  scope: group
  params: {
    name: environmentName
    location: location
    tags: tags
    subnetId: network.outputs.webSubnetId
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    vaultName: vaultName
    image: image
    redisSecretName: redis.outputs.secretName
    instances: minReplicas
  }
}

// They report to an address that all gateways share, which App Service does not have.
module workers 'modules/workers.bicep' = if (onContainerApps && workerCount > 0 && !empty(workerBinaryUrl)) {
  name: 'workers'
  scope: group
  params: {
    name: environmentName
    location: location
    tags: tags
    subnetId: network.outputs.workersSubnetId
    vaultName: vaultName
    count: workerCount
    binaryUrl: workerBinaryUrl
    binarySha256: workerBinarySha256
    publicKey: workerPublicKey
    gatewayUrl: gateway!.outputs.internalUrl
    otlpEndpoint: collector!.outputs.endpoint
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output BATON_URL string = onContainerApps ? gateway!.outputs.url : appService!.outputs.url
output BATON_GATEWAY_INTERNAL string = onContainerApps ? gateway!.outputs.internalUrl : ''
