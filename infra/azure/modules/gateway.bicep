// The gateways: at least three replicas, any of which serves any call.

param location string
param tags object
param environmentName string
param identityId string
param registryName string
param vaultName string
param image string
param redisSecretName string
param otlpEndpoint string

@minValue(3)
param minReplicas int
param maxReplicas int

@description('The addresses that the ingress connects from, whose X-Forwarded-For is believed.')
param ingressNetwork string = '100.64.0.0/10'

@description('The addresses of the edge, which stands before that ingress where there is one. Nothing else may live there.')
param edgeNetwork string

var name = 'gateway'
var internalPort = 8081

resource environment 'Microsoft.App/managedEnvironments@2025-01-01' existing = {
  name: environmentName
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' existing = {
  name: registryName
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: vaultName
}

var hostName = '${name}.${environment.properties.defaultDomain}'
// One address for all replicas: none can be reached by itself. See README.md, "Heartbeats".
var internalUrl = 'http://${hostName}:${internalPort}'

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [{ server: registry.properties.loginServer, identity: identityId }]
      // `external` means the network here: the environment's address is inside it.
      ingress: {
        external: true
        targetPort: 8080
        transport: 'auto'
        allowInsecure: false
        stickySessions: { affinity: 'none' }
        additionalPortMappings: [{ external: true, targetPort: internalPort, exposedPort: internalPort }]
      }
      secrets: [
        { name: 'signing-key', keyVaultUrl: '${vault.properties.vaultUri}secrets/signing-key', identity: identityId }
        { name: 'worker-root-key', keyVaultUrl: '${vault.properties.vaultUri}secrets/worker-root-key', identity: identityId }
        { name: 'gateway-config', keyVaultUrl: '${vault.properties.vaultUri}secrets/gateway-config', identity: identityId }
        { name: 'redis-url', keyVaultUrl: '${vault.properties.vaultUri}secrets/${redisSecretName}', identity: identityId }
      ]
    }
    template: {
      // Longer than --drain-seconds and the five seconds before it in which no new connection is expected.
      terminationGracePeriodSeconds: 60
      containers: [
        {
          name: name
          image: image
          command: ['baton']
          args: [
            'gateway'
            '--listen'
            '0.0.0.0:8080'
            '--internal-listen'
            '0.0.0.0:${internalPort}'
            '--advertise'
            internalUrl
            '--rpc-plaintext'
            '--allowed-host'
            hostName
            '--trusted-proxy'
            ingressNetwork
            '--trusted-proxy'
            edgeNetwork
            '--max-connections-per-address'
            '10000'
            '--signing-key-file'
            '/keys/signing.key'
            '--worker-root-key-file'
            '/keys/worker-root.key'
            '--config'
            '/keys/baton.toml'
            '--data-dir'
            '/data/gateway'
            '--drain-seconds'
            '30'
            '--log-format'
            'json'
            '--otlp-endpoint'
            otlpEndpoint
          ]
          env: [{ name: 'BATON_REDIS', secretRef: 'redis-url' }]
          resources: { cpu: json('1.0'), memory: '2Gi' }
          volumeMounts: [
            { volumeName: 'keys', mountPath: '/keys' }
            { volumeName: 'data', mountPath: '/data' }
          ]
          probes: [
            { type: 'Startup', httpGet: { path: '/livez', port: internalPort }, periodSeconds: 1, failureThreshold: 30 }
            { type: 'Liveness', httpGet: { path: '/livez', port: internalPort }, periodSeconds: 10 }
            { type: 'Readiness', httpGet: { path: '/readyz', port: internalPort }, periodSeconds: 3 }
          ]
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [{ name: 'calls', http: { metadata: { concurrentRequests: '100' } } }]
      }
      volumes: [
        {
          name: 'keys'
          storageType: 'Secret'
          secrets: [
            { secretRef: 'signing-key', path: 'signing.key' }
            { secretRef: 'worker-root-key', path: 'worker-root.key' }
            { secretRef: 'gateway-config', path: 'baton.toml' }
          ]
        }
        { name: 'data', storageType: 'EmptyDir' }
      ]
    }
  }
}

output hostName string = hostName
output url string = 'https://${hostName}/mcp'
output internalUrl string = internalUrl
