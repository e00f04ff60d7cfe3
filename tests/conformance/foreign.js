// The official TypeScript client 2.x, in the modern era, with server-everything, a server with sessions, behind URL.
//
// usage: foreign.js URL [--legacy]      (--legacy against the server itself says that the checks are right)

const { parseArgs } = require('node:util');
const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
const { Report, expect } = require('../clients/report');

const DOCUMENT = 'demo://resource/static/document/features.md';

async function journey(client, report) {
  await report.check('its tools are listed', async () => {
    const listed = (await client.listTools()).tools.map((tool) => tool.name);
    for (const name of ['echo', 'get-sum', 'get-structured-content']) expect(listed.includes(name), `no ${name}: ${listed}`);
  });
  await report.check('a tool is called', async () => {
    const result = await client.callTool({ name: 'echo', arguments: { message: 'ü 1' } });
    expect(result.content[0].text === 'Echo: ü 1', JSON.stringify(result));
  });
  await report.check('structured content fits its output schema', async () => {
    const result = await client.callTool({ name: 'get-structured-content', arguments: { location: 'Chicago' } });
    expect(typeof result.structuredContent.temperature === 'number', JSON.stringify(result));
  });
  await report.check('progress comes while a tool runs', async () => {
    const steps = [];
    const slow = { name: 'trigger-long-running-operation', arguments: { duration: 1, steps: 4 } };
    await client.callTool(slow, { onprogress: (it) => steps.push(it.progress) });
    expect(steps.join() === '1,2,3,4', steps.join());
  });
  await report.check('resources and templates are listed and read', async () => {
    const listed = (await client.listResources()).resources.map((resource) => resource.uri);
    expect(listed.includes(DOCUMENT), listed.join());
    const templates = (await client.listResourceTemplates()).resourceTemplates.map((it) => it.uriTemplate);
    expect(templates.includes('demo://resource/dynamic/text/{resourceId}'), templates.join());
    const read = await client.readResource({ uri: DOCUMENT });
    expect(read.contents[0].text.includes('#'), JSON.stringify(read));
  });
  await report.check('prompts are listed and had', async () => {
    const listed = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
    expect(listed.includes('args-prompt'), listed.join());
    const had = await client.getPrompt({ name: 'args-prompt', arguments: { city: 'Oslo' } });
    expect(had.messages[0].content.text.includes('Oslo'), JSON.stringify(had));
  });
  await report.check('an argument is completed', async () => {
    const asked = { ref: { type: 'ref/prompt', name: 'completable-prompt' }, argument: { name: 'department', value: 'E' } };
    const completed = await client.complete(asked);
    expect(completed.completion.values.join() === 'Engineering', JSON.stringify(completed));
  });
}

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { legacy: { type: 'boolean' } } });
  const report = new Report('server-everything, typescript');
  const era = values.legacy ? {} : { versionNegotiation: { mode: 'auto' } };
  const client = new Client({ name: 'baton-tests', version: '1' }, era);
  await report.check('connects in its own era', async () => {
    await client.connect(new StreamableHTTPClientTransport(new URL(positionals[0])));
    const spoken = client.getNegotiatedProtocolVersion();
    expect((spoken === '2026-07-28') !== Boolean(values.legacy), `speaks ${spoken}`);
  });
  if (report.failed === 0) {
    await journey(client, report);
    await client.close();
  }
  report.exit();
}

main();
