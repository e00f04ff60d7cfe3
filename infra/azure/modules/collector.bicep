// The OpenTelemetry collector: OTLP over HTTP in, Application Insights out. Gateways and workers share it.

param location string
param tags object
param environmentName string
param insightsName string
param image string = 'otel/opentelemetry-collector-contrib:0.159.0'

resource environment 'Microsoft.App/managedEnvironments@2025-01-01' existing = {
  name: environmentName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource collector 'Microsoft.App/containerApps@2025-01-01' = {
  name: 'collector'
  location: location
  tags: tags
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      // `external` means the network here: the environment's address is inside it. Spans go there in the clear.
      ingress: { external: true, targetPort: 4318, transport: 'http', allowInsecure: true }
      secrets: [{ name: 'insights', value: insights.properties.ConnectionString }]
    }
    template: {
      containers: [
        {
          name: 'collector'
          image: image
          args: ['--config=env:COLLECTOR_CONFIG']
          env: [
            { name: 'COLLECTOR_CONFIG', value: loadTextContent('../collector.yaml') }
            { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', secretRef: 'insights' }
          ]
          resources: { cpu: json('0.5'), memory: '1Gi' }
          probes: [{ type: 'Liveness', httpGet: { path: '/', port: 13133 } }]
        }
      ]
      scale: { minReplicas: 1, maxReplicas: 3 }
    }
  }
}

output endpoint string = 'http://${collector.properties.configuration.ingress.fqdn}'
