// To saturation and beyond: where Python calls of 10 ms, and then `whoami`, stop being served as fast as they come.
//
// The driver makes the curve of it: offered, served and how fast, step by step. Nothing may fail on the way; what cannot
// be served is refused, or finds no free caller here and is dropped.

import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { OPTIONS, begin, happened, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 120, 10, 3600);
const PYTHON_MOST = setting('RATE', 2000, 1, 20000);
const WHOAMI_MOST = setting('WHOAMI_RATE', 12000, 1, 50000);
const ENVIRONMENTS = setting('ENVIRONMENTS', 90, 1, 90);
const HALF = SECONDS / 2;
const client = new Client();

const rising = (exec, most, vus, startTime) => ({
  executor: 'ramping-arrival-rate', exec, startRate: 0, timeUnit: '1s', stages: [{ target: most, duration: `${HALF}s` }],
  preAllocatedVUs: vus, maxVUs: vus, startTime: `${startTime}s`, gracefulStop: '30s',
});

export const options = {
  ...OPTIONS,
  scenarios: {
    python: rising('python', PYTHON_MOST, 2 * ENVIRONMENTS, 0),
    whoami: rising('whoami', WHOAMI_MOST, 200, HALF),
  },
  thresholds: {
    ...happened('mcp_done{of:python}', 'mcp_done{of:whoami}'),
    mcp_failed: ['count==0'],
    mcp_unknown: ['count==0'],
  },
};

export function setup() {
  const handles = launchMany(client, ENVIRONMENTS, 'import time');
  begin();
  return handles;
}

export function python(handles) {
  count(new Environment(client, handles[(__VU - 1) % handles.length]).python('time.sleep(0.01)'), 'python');
}

export function whoami() {
  count(client.call('whoami', {}), 'whoami');
}

export function teardown(handles) {
  for (const id of handles) new Environment(client, id).close();
}

export function handleSummary(data) {
  return summary(data);
}
