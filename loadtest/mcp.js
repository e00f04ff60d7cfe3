// An MCP client for k6: one 2026-07-28 request per call, its headers mirrored from its body, its answer judged.

import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

const REVISION = '2026-07-28';
const META = {
  'io.modelcontextprotocol/protocolVersion': REVISION,
  'io.modelcontextprotocol/clientInfo': { name: 'baton-loadtest', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': {},
};

export const protocolErrors = new Counter('mcp_protocol_errors');
export const toolErrors = new Counter('mcp_tool_errors');
export const instanceHits = new Counter('mcp_instance_hits');
export const instanceShare = new Rate('mcp_instance_share');

export class Mcp {
  constructor(url, key, replicas) {
    this.url = url;
    this.key = key;
    this.replicas = replicas;
    this.lastId = 0;
  }

  // The result of a tool, or null after an error of whatever kind, which has then been counted.
  tool(name, args, tags = {}) {
    const body = {
      jsonrpc: '2.0',
      id: `${__VU}-${(this.lastId += 1)}`,
      method: 'tools/call',
      params: { name, arguments: args, _meta: META },
    };
    const response = http.post(this.url, JSON.stringify(body), {
      headers: {
        'Content-Type': 'application/json',
        Accept: 'application/json, text/event-stream',
        'MCP-Protocol-Version': REVISION,
        'Mcp-Method': body.method,
        'Mcp-Name': name,
        ...(this.key ? { 'x-ms-apikey': this.key } : {}),
      },
      tags: { name, ...tags },
      timeout: '30s',
    });
    return this.judge(response, body.id);
  }

  judge(response, id) {
    const reply = answer(response);
    if (!reply || reply.id !== id || reply.error || response.status !== 200) {
      complain(protocolErrors, response);
      return null;
    }
    if (reply.result.isError) {
      complain(toolErrors, response);
      return null;
    }
    return { ...reply.result, replica: response.headers['Baton-Replica'] };
  }

  // One hit of one replica; the shares are rates, so that a threshold can hold each of them.
  countReplica(result) {
    instanceHits.add(1, { replica: result.replica });
    for (const replica of this.replicas) {
      instanceShare.add(replica === result.replica, { replica });
    }
  }
}

// The last message of a JSON body or of an event stream.
function answer(response) {
  try {
    const type = response.headers['Content-Type'] || '';
    if (!type.startsWith('text/event-stream')) return response.json();
    const events = response.body.split('\n').filter((line) => line.startsWith('data: '));
    return JSON.parse(events[events.length - 1].slice('data: '.length));
  } catch (_) {
    return null;
  }
}

// Counts always, but says it only a few times.
let said = 0;
function complain(counter, response) {
  counter.add(1);
  if ((said += 1) <= 3) console.error(`HTTP ${response.status} ${response.error} ${String(response.body).slice(0, 300)}`);
}
