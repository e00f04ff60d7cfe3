// What runs in the browser: the journeys of the official clients, as in Node, and what only a browser can be denied.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as Client1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as Transport1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { journey } from '../clients/journey';
import { Report, expect } from '../clients/report';

const SECONDS = 1000;

// The page's lines go to its own server, in order.
let told = Promise.resolve();
const tell = (path, body) => { told = told.then(() => fetch(path, { method: 'POST', body })); };
console.log = (line) => tell('/line', line);

const about = { name: 'baton-tests', version: '1' };
const withKey = (key) => ({ requestInit: { headers: { 'x-ms-apikey': key } } });
const launch = { name: 'launchShell', arguments: {} };

function within(promise, what) {
  const late = new Promise((_, reject) => { setTimeout(() => reject(new Error(`${what}: nothing came`)), 20 * SECONDS); });
  return Promise.race([promise, late]);
}

async function failure(promise) {
  const error = await promise.then(() => undefined, (caught) => caught);
  expect(error, 'it succeeded');
  return error;
}

function discover(url, headers) {
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientInfo': about,
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  return fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json', accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28', 'mcp-method': 'server/discover', ...headers,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'server/discover', params: { _meta } }),
  });
}

async function modernJourney({ url, key }, report) {
  const client = new Client(about, { versionNegotiation: { mode: 'auto' } });
  await report.check('connects', async () => {
    await client.connect(new StreamableHTTPClientTransport(new URL(url), withKey(key)));
    expect(client.getNegotiatedProtocolVersion() === '2026-07-28', client.getNegotiatedProtocolVersion());
  });
  await report.check('listens', async () => {
    const { environmentId } = (await client.callTool(launch)).structuredContent;
    const uri = `baton://environments/${environmentId}`;
    const subscription = await client.listen({ resourceSubscriptions: [uri] });
    const updated = new Promise((resolve) => {
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => resolve(params.uri));
    });
    await client.callTool({ name: 'runPythonCodeInRemoteEnvironment', arguments: { environmentId, pythonCode: '1' } });
    expect((await within(updated, 'an update')) === uri, 'told of another one');
    await subscription.close();
    await client.callTool({ name: 'closeEnvironment', arguments: { environmentId } });
  });
  await journey({
    era: 'modern',
    tools: async () => (await client.listTools(undefined, { cacheMode: 'bypass' })).tools.map((tool) => tool.name),
    call: (name, args, { progress, timeout, signal }) =>
      client.callTool({ name, arguments: args }, { onprogress: progress, timeout, signal }),
    isTimeout: (error) => error.code === 'REQUEST_TIMEOUT',
    isUnknownTool: (error) => error.code === -32602,
  }, report, true);
  await client.close();
}

async function legacyJourney({ url, key }, report) {
  const client = new Client1(about);
  const errors = [];
  client.onerror = (error) => errors.push(`${error}`);
  await report.check('connects, and its GET meets a 405 that it can read', async () => {
    await client.connect(new Transport1(new URL(url), withKey(key)));
    await client.ping();
    expect(errors.length === 0, errors);
  });
  await journey({
    era: 'legacy',
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    call: (name, args, { progress, timeout, signal }) =>
      client.callTool({ name, arguments: args }, undefined, { onprogress: progress, timeout, signal }),
    isTimeout: (error) => error.code === -32001,
    isUnknownTool: (error) => error.code === -32602,
  }, report, true);
  await client.close();
}

async function plainRequests({ url, key, replicas }, report) {
  await report.check('a page reads which replica answered, and meets both', async () => {
    const seen = new Set();
    for (let i = 0; i < 8; i += 1) seen.add((await discover(url, { 'x-ms-apikey': key })).headers.get('baton-replica'));
    expect(JSON.stringify([...seen].sort()) === JSON.stringify(replicas), [...seen]);
  });
  await report.check('a page sends the headers that no list can name, and either credential', async () => {
    const headers = { authorization: `Bearer ${key}`, 'mcp-param-region': 'x', 'idempotency-key': 'k', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
    const answer = await discover(url, headers);
    expect(answer.status === 200, `${answer.status} ${await answer.text()}`);
  });
  await report.check('a page is told why its key is refused', async () => {
    const answer = await discover(url, { 'x-ms-apikey': 'wrong' });
    const { error } = await answer.json();
    expect(answer.status === 401 && answer.headers.get('www-authenticate') === 'Bearer', answer.status);
    expect(error.message.includes('key'), error);
  });
  await report.check('the client is told so too', async () => {
    const client = new Client(about, { versionNegotiation: { mode: 'auto' } });
    const error = await failure(client.connect(new StreamableHTTPClientTransport(new URL(url), withKey('wrong'))));
    expect(`${error.name} ${error.message} ${error.code}`.match(/401|unauthorized/i), `${error.name}: ${error.message}`);
  });
}

async function denied({ url, key }, report) {
  await report.check('its requests fail, and it learns nothing of the answer', async () => {
    const error = await failure(discover(url, { 'x-ms-apikey': key }));
    expect(error instanceof TypeError, `${error}`);
  });
  await report.check('the client does not connect', async () => {
    const client = new Client(about, { versionNegotiation: { mode: 'auto' } });
    await failure(client.connect(new StreamableHTTPClientTransport(new URL(url), withKey(key))));
  });
  await report.check('a request without a preflight is answered with nothing to read', async () => {
    await failure(fetch(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: '{}' }));
    const opaque = await fetch(url, { method: 'POST', mode: 'no-cors', body: '{}' });
    expect(opaque.type === 'opaque' && opaque.status === 0, opaque.type);
  });
}

const ALLOWED = [
  ['browser', plainRequests],
  ['browser, typescript client 2.4.0', modernJourney],
  ['browser, typescript sdk 1.32.2', legacyJourney],
];
const FOREIGN = [['browser, foreign origin', denied]];

async function main() {
  const given = await (await fetch('/about.json')).json();
  let failed = 0;
  for (const [name, part] of given.allowed ? ALLOWED : FOREIGN) {
    const report = new Report(name);
    await part(given, report).catch((error) => report.check('comes to its end', () => { throw error; }));
    failed += report.failed;
  }
  tell('/done', `${failed}`);
}

main();
