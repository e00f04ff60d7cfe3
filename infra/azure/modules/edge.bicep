// A public address before the gateways. It keeps no affinity and buffers nothing: answers may be streams.

param name string
param location string
param tags object
param subnetId string
param identityId string
param backendHost string

@minLength(1)
param publicHostName string

@minLength(1)
param certificateSecretId string

var edgeName = 'agw-${name}'

resource address 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: 'pip-${name}-edge'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource edge 'Microsoft.Network/applicationGateways@2024-05-01' = {
  name: edgeName
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    sku: { name: 'Standard_v2', tier: 'Standard_v2' }
    autoscaleConfiguration: { minCapacity: 1, maxCapacity: 10 }
    globalConfiguration: { enableRequestBuffering: false, enableResponseBuffering: false }
    gatewayIPConfigurations: [{ name: 'edge', properties: { subnet: { id: subnetId } } }]
    frontendIPConfigurations: [{ name: 'public', properties: { publicIPAddress: { id: address.id } } }]
    frontendPorts: [{ name: 'https', properties: { port: 443 } }]
    sslCertificates: [{ name: 'public', properties: { keyVaultSecretId: certificateSecretId } }]
    backendAddressPools: [{ name: 'gateways', properties: { backendAddresses: [{ fqdn: backendHost }] } }]
    probes: [
      {
        name: 'health'
        properties: {
          protocol: 'Https'
          path: '/health'
          interval: 10
          timeout: 5
          unhealthyThreshold: 2
          pickHostNameFromBackendHttpSettings: true
        }
      }
    ]
    backendHttpSettingsCollection: [
      {
        name: 'gateways'
        properties: {
          protocol: 'Https'
          port: 443
          cookieBasedAffinity: 'Disabled'
          pickHostNameFromBackendAddress: true
          requestTimeout: 300
          probe: { id: resourceId('Microsoft.Network/applicationGateways/probes', edgeName, 'health') }
        }
      }
    ]
    httpListeners: [
      {
        name: 'public'
        properties: {
          protocol: 'Https'
          hostName: publicHostName
          frontendIPConfiguration: { id: resourceId('Microsoft.Network/applicationGateways/frontendIPConfigurations', edgeName, 'public') }
          frontendPort: { id: resourceId('Microsoft.Network/applicationGateways/frontendPorts', edgeName, 'https') }
          sslCertificate: { id: resourceId('Microsoft.Network/applicationGateways/sslCertificates', edgeName, 'public') }
        }
      }
    ]
    requestRoutingRules: [
      {
        name: 'all'
        properties: {
          ruleType: 'Basic'
          priority: 100
          httpListener: { id: resourceId('Microsoft.Network/applicationGateways/httpListeners', edgeName, 'public') }
          backendAddressPool: { id: resourceId('Microsoft.Network/applicationGateways/backendAddressPools', edgeName, 'gateways') }
          backendHttpSettings: { id: resourceId('Microsoft.Network/applicationGateways/backendHttpSettingsCollection', edgeName, 'gateways') }
        }
      }
    ]
  }
}
