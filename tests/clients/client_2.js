// The official TypeScript client 2.x against URL: its default start (initialize), or `--modern` (auto: server/discover).
//
// usage: client_2.js URL [--key KEY] [--modern]      (NODE_PATH names the folder that holds the package)

const { parseArgs } = require('node:util');
const { Client, SdkError, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
const { journey } = require('./journey');
const { Report, expect } = require('./report');

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { key: { type: 'string' }, modern: { type: 'boolean' } },
  });
  const era = values.modern ? 'modern' : 'legacy';
  const report = new Report(`typescript client 2.4.0 ${era}`);
  const client = new Client(
    { name: 'baton-tests', version: '1' }, values.modern ? { versionNegotiation: { mode: 'auto' } } : {});
  const transport = new StreamableHTTPClientTransport(new URL(positionals[0]), {
    requestInit: { headers: values.key ? { 'x-ms-apikey': values.key } : {} },
  });

  await report.check('connects', async () => {
    await client.connect(transport);
    const spoken = client.getNegotiatedProtocolVersion();
    expect((spoken === '2026-07-28') === (era === 'modern'), `speaks ${spoken}`);
    expect(transport.sessionId === undefined, `was given a session: ${transport.sessionId}`);
  });
  if (report.failed === 0) {
    await journey({
      era,
      tools: async () => (await client.listTools(undefined, { cacheMode: 'bypass' })).tools.map((tool) => tool.name),
      call: (name, args, { progress, timeout, signal }) =>
        client.callTool({ name, arguments: args }, { onprogress: progress, timeout, signal }),
      isTimeout: (error) => error instanceof SdkError && error.code === 'REQUEST_TIMEOUT',
      isUnknownTool: (error) => error.code === -32602,
    }, report, Boolean(values.key));
    await client.close();
  }
  report.exit();
}

main();
