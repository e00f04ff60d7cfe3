// The Redis master is killed with -9: calls to environments go on as if nothing were, and creating is back within 5 s.
//
// Each call is sent once. Creating may be refused in between (a quota cannot be checked), never wrongly answered; the
// driver holds the time of the last refusal against that of the kill.

import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { OPTIONS, NOTHING_LOST, arrival, begin, happened, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 40, 15, 3600);
const RATE = setting('RATE', 100, 1, 5000);
const CREATE_RATE = setting('CREATE_RATE', 5, 1, 100);
const ENVIRONMENTS = setting('ENVIRONMENTS', 24, 1, 60);
const client = new Client();

export const options = {
  ...OPTIONS,
  scenarios: {
    python: arrival('python', RATE, SECONDS, 4 * ENVIRONMENTS),
    create: arrival('create', CREATE_RATE, SECONDS, 10 * CREATE_RATE),
  },
  thresholds: {
    ...NOTHING_LOST,
    ...happened('mcp_done{of:python}', 'mcp_done{of:create}'),
    'mcp_refused{of:python}': ['count==0'],
    mcp_notices: ['count==0'],
    mcp_refused_bare: ['count==0'],
  },
};

export function setup() {
  const handles = launchMany(client, ENVIRONMENTS);
  begin();
  return handles;
}

export function python(handles) {
  count(new Environment(client, handles[Math.floor(Math.random() * handles.length)]).python('1'), 'python');
}

export function create() {
  const launched = count(client.call('launchShell', {}), 'create');
  if (launched.kind === 'done') count(new Environment(client, launched.result.structuredContent.environmentId).close(), 'close');
}

export function teardown(handles) {
  for (const id of handles) new Environment(client, id).close();
}

export function handleSummary(data) {
  return summary(data);
}
