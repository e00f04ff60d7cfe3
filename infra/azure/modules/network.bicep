// One virtual network: clients' way in, gateways, workers, and the private addresses of what they use.

param name string
param location string
param tags object

var apps = '10.60.0.0/23'
var web = '10.60.2.0/26'
var edge = '10.60.2.64/26'
var endpoints = '10.60.2.128/26'
var workers = '10.60.4.0/24'

// Only gateways call workers; nothing calls them from outside.
resource workersRules 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: 'nsg-${name}-workers'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'gateways'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefixes: [apps, web]
          sourcePortRange: '*'
          destinationAddressPrefix: workers
          destinationPortRange: '8090'
        }
      }
      {
        name: 'nobody-else'
        properties: {
          priority: 4096
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource outbound 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: 'pip-${name}-outbound'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

// Workers fetch their binary and their key; the sandboxes in them have no network.
resource nat 'Microsoft.Network/natGateways@2024-05-01' = {
  name: 'nat-${name}'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIpAddresses: [{ id: outbound.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: 'vnet-${name}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.60.0.0/20'] }
    subnets: [
      {
        name: 'apps'
        properties: {
          addressPrefix: apps
          delegations: [{ name: 'apps', properties: { serviceName: 'Microsoft.App/environments' } }]
        }
      }
      {
        name: 'web'
        properties: {
          addressPrefix: web
          delegations: [{ name: 'web', properties: { serviceName: 'Microsoft.Web/serverFarms' } }]
        }
      }
      { name: 'edge', properties: { addressPrefix: edge } }
      { name: 'endpoints', properties: { addressPrefix: endpoints } }
      {
        name: 'workers'
        properties: {
          addressPrefix: workers
          networkSecurityGroup: { id: workersRules.id }
          natGateway: { id: nat.id }
        }
      }
    ]
  }
}

output networkId string = network.id
output appsSubnetId string = network.properties.subnets[0].id
output webSubnetId string = network.properties.subnets[1].id
output edgeSubnetId string = network.properties.subnets[2].id
output edgeNetwork string = edge
output endpointsSubnetId string = network.properties.subnets[3].id
output workersSubnetId string = network.properties.subnets[4].id
