// A client of revision 2026-07-28: every request whole in itself, its headers mirrored from its body.

import http from 'k6/http';
import { judge } from './answer.js';
import { mirrored, mirroredArguments, REVISION } from './headers.js';
import { newTrace } from './trace.js';

export const TASKS = 'io.modelcontextprotocol/tasks';
const TIMEOUT = '60s';

export class Client {
  // `capabilities` are what the client declares on every request; `schemas` tools whose arguments have headers.
  constructor({ url = __ENV.MCP_URL, key = __ENV.MCP_KEY, capabilities = {} } = {}) {
    Object.assign(this, { url, key, capabilities, schemas: {}, lastId: 0 });
  }

  // Learns which arguments of which tools are mirrored; a client has to before it calls such a tool.
  learnTools() {
    const listed = this.request('tools/list', {});
    if (listed.kind !== 'done') throw new Error(`tools/list: ${listed.why}`);
    for (const tool of listed.result.tools) this.schemas[tool.name] = tool.inputSchema;
    return listed.result.tools;
  }

  // tools/call, sent once. `key` is the idempotency key, `more` further params: answers to what a server asked.
  call(name, args, { key, more = {}, tags = {} } = {}) {
    return this.request('tools/call', { name, arguments: args, ...more }, { key, tags: { tool: name, ...tags } });
  }

  request(method, params, { key, tags } = {}) {
    const { id, body, headers } = this.prepare(method, params, key);
    return judge(http.post(this.url, body, { headers, tags, timeout: TIMEOUT }), id);
  }

  // What goes over the wire; the id is new each time, as a retry is a request of its own.
  prepare(method, params, key) {
    const id = `${__VU}-${(this.lastId += 1)}`;
    const { traceparent } = newTrace();
    const meta = {
      'io.modelcontextprotocol/protocolVersion': REVISION,
      'io.modelcontextprotocol/clientInfo': { name: 'baton-loadtest', version: '2' },
      'io.modelcontextprotocol/clientCapabilities': this.capabilities,
      traceparent,
      ...(key ? { 'dev.baton/idempotencyKey': key } : {}),
    };
    const schema = method === 'tools/call' && this.schemas[params.name];
    return {
      id,
      body: JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...params, _meta: meta } }),
      headers: {
        'Content-Type': 'application/json',
        Accept: 'application/json, text/event-stream',
        ...mirrored(method, params),
        ...(schema ? mirroredArguments(schema, params.arguments) : {}),
        ...(this.key ? { 'x-ms-apikey': this.key } : {}),
      },
    };
  }
}
