// The official TypeScript client 2.x listens at one gateway until that is told to stop, then at another.
//
// usage: listen_2.js FIRST-URL SECOND-URL KEY      prints `listening` when the first gateway may stop
//
// The client takes the server's `notifications/cancelled` for a disconnect ("remote"), after which one listens again.

const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
const { Report, expect } = require('./report');

const MILLISECONDS = 60000;
const uriOf = (environment) => `baton://environments/${environment}`;

async function connected(url, key) {
  const client = new Client({ name: 'baton-tests', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { 'x-ms-apikey': key } } }));
  return client;
}

function within(promise, what) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`${what}: nothing came`)), MILLISECONDS).unref());
  return Promise.race([promise, late]);
}

// Uses the environment and waits for the news of it.
async function told(client, environment) {
  const updated = new Promise((resolve) => {
    client.setNotificationHandler('notifications/resources/updated', ({ params }) => resolve(params.uri));
  });
  await client.callTool({
    name: 'runPythonCodeInRemoteEnvironment', arguments: { environmentId: environment, pythonCode: '1' } });
  const uri = await within(updated, 'an update');
  expect(uri === uriOf(environment), `told of ${uri}`);
}

async function main() {
  const [first, second, key] = process.argv.slice(2);
  const report = new Report('typescript listen');
  let environment, wanted;
  await report.check('a stream ends when its replica stops, and its user learns to listen again', async () => {
    const client = await connected(first, key);
    const launched = await client.callTool({ name: 'launchShell', arguments: {} });
    environment = launched.structuredContent.environmentId;
    wanted = { resourceSubscriptions: [uriOf(environment)], toolsListChanged: true };
    const subscription = await client.listen(wanted);
    expect(JSON.stringify(subscription.honoredFilter.resourceSubscriptions) === JSON.stringify(wanted.resourceSubscriptions),
      subscription.honoredFilter);
    await told(client, environment);
    console.log('listening');
    const how = await within(subscription.closed, 'the end');
    expect(how === 'remote', `closed: ${how}`);
  });
  await report.check('goes on at another replica', async () => {
    const client = await connected(second, key);
    const subscription = await client.listen(wanted);
    await told(client, environment);
    await subscription.close();
    await client.close();
  });
  report.exit();
}

main();
