// A gateway is killed with -9 every few seconds: with an idempotency key every call is answered, and ran once.

import { Client } from '../lib/client.js';
import { append, audit, exactlyOnce, launchForAppends } from '../lib/appends.js';
import { OPTIONS, NOTHING_LOST, arrival, begin, happened, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 60, 5, 3600);
const RATE = setting('RATE', 150, 1, 5000);
const ENVIRONMENTS = setting('ENVIRONMENTS', 90, 1, 90);
const client = new Client();

export const options = {
  ...OPTIONS,
  scenarios: { append: arrival('appending', RATE, SECONDS, ENVIRONMENTS) },
  thresholds: {
    ...exactlyOnce(ENVIRONMENTS),
    ...happened('mcp_done'),
    mcp_failed: NOTHING_LOST.mcp_failed,
    mcp_unknown: NOTHING_LOST.mcp_unknown,
    mcp_refused: ['count==0'],
    mcp_notices: ['count==0'],
    // A caller sends one call again before it has time for the next.
    dropped_iterations: [`count<${Math.ceil(0.2 * RATE * SECONDS)}`],
  },
};

export function setup() {
  const handles = launchForAppends(client, ENVIRONMENTS);
  begin();
  return handles;
}

export function appending(handles) {
  append(client, handles);
}

export function teardown(handles) {
  audit(client, handles);
}

export function handleSummary(data) {
  return summary(data);
}
