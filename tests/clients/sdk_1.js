// The official TypeScript SDK 1.x of the initialize era against URL.
//
// usage: sdk_1.js URL [--key KEY]      (NODE_PATH names the folder that holds the package)

const { parseArgs } = require('node:util');
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { ErrorCode } = require('@modelcontextprotocol/sdk/types.js');
const { journey } = require('./journey');
const { Report, expect } = require('./report');

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { key: { type: 'string' } } });
  const report = new Report('typescript sdk 1.32.2');
  const client = new Client({ name: 'baton-tests', version: '1' });
  const transport = new StreamableHTTPClientTransport(new URL(positionals[0]), {
    requestInit: { headers: values.key ? { 'x-ms-apikey': values.key } : {} },
  });

  await report.check('connects, without a session', async () => {
    await client.connect(transport);
    expect(client.getServerVersion().name, 'no serverInfo');
    expect(transport.sessionId === undefined, `was given a session: ${transport.sessionId}`);
  });
  if (report.failed === 0) {
    await journey({
      era: 'legacy',
      tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
      call: (name, args, { progress, timeout, signal }) =>
        client.callTool({ name, arguments: args }, undefined, { onprogress: progress, timeout, signal }),
      isTimeout: (error) => error.code === ErrorCode.RequestTimeout,
      isUnknownTool: (error) => error.code === ErrorCode.InvalidParams,
    }, report, Boolean(values.key));
    await client.close();
  }
  report.exit();
}

main();
