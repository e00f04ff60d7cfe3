// Gateways on App Service: a Linux container, three instances without affinity, a slot to swap from.

param name string
param location string
param tags object
param subnetId string
param identityId string
param identityClientId string
param vaultName string
param image string
param redisSecretName string

@minValue(3)
param instances int

var siteName = 'app-${name}-${uniqueString(resourceGroup().id)}'
var secret = '@Microsoft.KeyVault(VaultName=${vaultName};SecretName='

// Key files are written at the start: the platform gives secrets as variables alone. Each instance has an address and a
// port of its own in the network, which only it knows.
var start = '''
sh -c 'set -eu; umask 077; mkdir -p /tmp/keys
printf "%s\n" "$SIGNING_KEY" >/tmp/keys/signing.key
printf "%s\n" "$WORKER_ROOT_KEY" >/tmp/keys/worker-root.key
printf "%s\n" "$GATEWAY_CONFIG" >/tmp/keys/baton.toml
unset SIGNING_KEY WORKER_ROOT_KEY GATEWAY_CONFIG
port=${WEBSITE_PRIVATE_PORTS%%,*}
exec baton gateway --listen 0.0.0.0:8080 --internal-listen "0.0.0.0:$port" --advertise "http://$WEBSITE_PRIVATE_IP:$port" --rpc-plaintext --allowed-host "$WEBSITE_HOSTNAME" --trusted-proxy 169.254.0.0/16 --max-connections-per-address 10000 --signing-key-file /tmp/keys/signing.key --worker-root-key-file /tmp/keys/worker-root.key --config /tmp/keys/baton.toml --data-dir /tmp/baton --drain-seconds 30 --log-format json'
'''

var settings = [
  { name: 'SIGNING_KEY', value: '${secret}signing-key)' }
  { name: 'WORKER_ROOT_KEY', value: '${secret}worker-root-key)' }
  { name: 'GATEWAY_CONFIG', value: '${secret}gateway-config)' }
  { name: 'BATON_REDIS', value: '${secret}${redisSecretName})' }
  { name: 'WEBSITES_PORT', value: '8080' }
  { name: 'WEBSITES_ENABLE_APP_SERVICE_STORAGE', value: 'false' }
  { name: 'WEBSITES_CONTAINER_STOP_TIME_LIMIT', value: '60' }
]

var config = {
  linuxFxVersion: 'DOCKER|${image}'
  acrUseManagedIdentityCreds: true
  acrUserManagedIdentityID: identityClientId
  appCommandLine: replace(trim(start), '\n', '; ')
  appSettings: settings
  alwaysOn: true
  http20Enabled: true
  healthCheckPath: '/health'
  vnetRouteAllEnabled: true
  vnetPrivatePortsCount: 1
  minTlsVersion: '1.2'
  ftpsState: 'Disabled'
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'linux'
  sku: { name: 'P1v3', capacity: instances }
  properties: { reserved: true, zoneRedundant: true }
}

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: siteName
  location: location
  tags: tags
  kind: 'app,linux,container'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    virtualNetworkSubnetId: subnetId
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identityId
    siteConfig: config
  }
}

// Deployed to and warmed up, then swapped: handles of before are good after, for the keys are the same.
resource staging 'Microsoft.Web/sites/slots@2024-11-01' = {
  parent: site
  name: 'staging'
  location: location
  tags: tags
  kind: 'app,linux,container'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    virtualNetworkSubnetId: subnetId
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identityId
    siteConfig: config
  }
}

output url string = 'https://${site.properties.defaultHostName}/mcp'
