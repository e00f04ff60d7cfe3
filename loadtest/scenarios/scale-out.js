// One gateway becomes three and one worker two, under load: no call fails, and the new ones have their share in 10 s.

import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { persistently } from '../lib/retry.js';
import { OPTIONS, NOTHING_LOST, arrival, begin, happened, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 60, 40, 3600);
const RATE = setting('RATE', 100, 1, 5000);
const CREATE_RATE = setting('CREATE_RATE', 8, 1, 100);
const ENVIRONMENTS = setting('ENVIRONMENTS', 24, 1, 60);
const client = new Client();

export const options = {
  ...OPTIONS,
  scenarios: {
    python: arrival('python', RATE, SECONDS, 4 * ENVIRONMENTS),
    create: arrival('create', CREATE_RATE, SECONDS, 4 * CREATE_RATE),
  },
  thresholds: {
    ...NOTHING_LOST,
    ...happened('mcp_done{of:python}', 'mcp_done{of:create}'),
    mcp_refused: ['count==0'],
    mcp_notices: ['count==0'],
  },
};

export function setup() {
  const handles = launchMany(client, ENVIRONMENTS);
  begin();
  return handles;
}

export function python(handles) {
  const environment = new Environment(client, handles[Math.floor(Math.random() * handles.length)]);
  send('python', (key) => environment.python('1', { key }));
}

// A whole short life: only new environments show whether a new worker is used.
export function create() {
  const launched = send('create', (key) => client.call('launchShell', {}, { key }));
  if (launched.kind !== 'done') return;
  const environment = new Environment(client, launched.result.structuredContent.environmentId);
  send('first', (key) => environment.python('1', { key }));
  send('close', () => environment.close());
}

// Keyed, for a balancer that takes up new gateways closes connections, and a request may be on its way into one: that is
// sent again. One that was launched twice is a spare, which nobody calls and which ends by itself.
let sent = 0;
function send(of, call) {
  const began = Date.now();
  return count(persistently(call, { key: `${of}-${__VU}-${(sent += 1)}` }), of, began);
}

export function teardown(handles) {
  for (const id of handles) new Environment(client, id).close();
}

export function handleSummary(data) {
  return summary(data);
}
