// A worker is killed with -9 every few seconds: what it had acknowledged is there, nothing ran twice, no file is lost.
//
// A call that runs at that moment is lost with its interpreter and says so under its key for ever; it is counted apart,
// and has left one line or none.

import { Client } from '../lib/client.js';
import { append, audit, exactlyOnce, launchForAppends } from '../lib/appends.js';
import { OPTIONS, arrival, begin, happened, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 60, 5, 3600);
const RATE = setting('RATE', 60, 1, 5000);
const ENVIRONMENTS = setting('ENVIRONMENTS', 90, 1, 90);
const client = new Client();

export const options = {
  ...OPTIONS,
  scenarios: { append: arrival('appending', RATE, SECONDS, ENVIRONMENTS) },
  thresholds: {
    ...exactlyOnce(ENVIRONMENTS),
    ...happened('mcp_done', 'mcp_notices'),
    mcp_failed: ['count==0'],
    mcp_unknown: ['count==0'],
    mcp_refused: ['count==0'],
    // A client whose environment is away waits for it, and calls that come meanwhile find nobody free.
    dropped_iterations: [`count<${Math.ceil(0.5 * RATE * SECONDS)}`],
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
