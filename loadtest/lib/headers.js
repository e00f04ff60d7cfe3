// What 2026-07-28 wants to see in headers: method, name and marked arguments, mirrored from the body.

import encoding from 'k6/encoding';

export const REVISION = '2026-07-28';

// Where each method's Mcp-Name stands in its params; tasks by SEP-2663.
const NAMED_BY = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
};

// streamable-http, "Standard Request Headers".
export function mirrored(method, params) {
  const headers = { 'MCP-Protocol-Version': REVISION, 'Mcp-Method': method };
  const name = params[NAMED_BY[method]];
  return name === undefined ? headers : { ...headers, 'Mcp-Name': encoded(name) };
}

// streamable-http, "Custom Headers from Tool Parameters": a value that is absent or null has no header.
export function mirroredArguments(schema, args) {
  const headers = {};
  for (const [property, subschema] of Object.entries(schema.properties || {})) {
    const value = (args || {})[property];
    if (value === undefined || value === null) continue;
    if (subschema['x-mcp-header']) headers[`Mcp-Param-${subschema['x-mcp-header']}`] = encoded(String(value));
    else if (subschema.type === 'object') Object.assign(headers, mirroredArguments(subschema, value));
  }
  return headers;
}

// streamable-http, "Value Encoding".
export function encoded(value) {
  const plain = /^[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?$/.test(value) || value === '';
  const sentinel = value.startsWith('=?base64?') && value.endsWith('?=');
  return plain && !sentinel ? value : `=?base64?${encoding.b64encode(value)}?=`;
}
