// One tenant floods: it costs the others at most a tenth of what they were served before it began.
//
// The first tenants call at a constant rate all the time; the last one begins in the middle, with many times its share.
// Calls sleep for a while, so that a tenant's slots and not the processors are what it runs out of.

import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { OPTIONS, arrival, begin, happened, seen, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 60, 6, 3600);
const RATE = setting('RATE', 60, 1, 5000);
const NOISE = setting('NOISE', 400, 1, 20000);
const ENVIRONMENTS = setting('ENVIRONMENTS', 16, 1, 90);
const CALLERS = 300;
const MOST_COST = 0.1;
const HALF = SECONDS / 2;
const clients = __ENV.MCP_KEYS.split(',').map((key) => new Client({ key }));
const NOISY = clients.length - 1;

export const options = {
  ...OPTIONS,
  scenarios: {
    quiet: arrival('quiet', RATE, HALF, CALLERS),
    beside: arrival('beside', RATE, HALF, CALLERS, { startTime: `${HALF}s` }),
    noise: arrival('noise', NOISE, HALF, CALLERS, { startTime: `${HALF}s` }),
  },
  thresholds: {
    ...happened('mcp_done{of:quiet}', 'mcp_done{of:beside}', 'mcp_done{of:noise}', 'mcp_refused{of:noise}'),
    ...seen('mcp_served{of:quiet}', 'mcp_served{of:beside}', 'mcp_refused{of:beside}'),
    mcp_failed: ['count==0'],
    mcp_unknown: ['count==0'],
    mcp_refused_bare: ['count==0'],
    'mcp_refused{of:quiet}': ['count==0'],
  },
};

export function setup() {
  const handles = clients.map((client) => launchMany(client, ENVIRONMENTS, 'import time'));
  begin();
  return handles;
}

function call(handles, tenant, of) {
  const own = handles[tenant];
  count(new Environment(clients[tenant], own[Math.floor(Math.random() * own.length)]).python('time.sleep(0.05)'), of);
}

const anyOther = () => Math.floor(Math.random() * NOISY);

export const quiet = (handles) => call(handles, anyOther(), 'quiet');
export const beside = (handles) => call(handles, anyOther(), 'beside');
export const noise = (handles) => call(handles, NOISY, 'noise');

export function teardown(handles) {
  handles.forEach((own, tenant) => own.forEach((id) => new Environment(clients[tenant], id).close()));
}

export function handleSummary(data) {
  return summary(data, (metric) => {
    const [before, during] = ['quiet', 'beside'].map((of) => metric(`mcp_done{of:${of}}`).count / HALF);
    const cost = 1 - during / before;
    const rates = `${before.toFixed(1)}/s before and ${during.toFixed(1)}/s beside the noise`;
    return [[cost <= MOST_COST, `the others were served ${rates}: it cost them ${(100 * cost).toFixed(1)} %`]];
  });
}
