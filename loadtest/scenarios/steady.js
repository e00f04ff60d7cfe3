// Constant arrival of short calls: none fails, and each replica has its share.
//
// `whoami` shows the gateway alone; Python in environments made beforehand shows gateway, rpc and sandbox, each call on
// whatever replica its turn gives. No call is sent again here.

import { check } from 'k6';
import { Rate } from 'k6/metrics';
import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { OPTIONS, NOTHING_LOST, arrival, begin, happened, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 60, 1, 3600);
const PYTHON_RATE = setting('RATE', 60, 1, 5000);
const WHOAMI_RATE = 5 * PYTHON_RATE;
const ENVIRONMENTS = setting('ENVIRONMENTS', 12, 1, 90);
const REPLICAS = __ENV.MCP_REPLICAS.split(',');
const FAIR = 1 / REPLICAS.length;

const share = new Rate('mcp_share');
const client = new Client();

export const options = {
  ...OPTIONS,
  scenarios: {
    whoami: arrival('whoami', WHOAMI_RATE, SECONDS, 160),
    python: arrival('python', PYTHON_RATE, SECONDS, 8 * ENVIRONMENTS),
  },
  thresholds: {
    ...NOTHING_LOST,
    ...happened('mcp_done{of:whoami}', 'mcp_done{of:python}'),
    mcp_refused: ['count==0'],
    checks: ['rate==1'],
    'mcp_served{of:whoami}': [`p(99)<${setting('WHOAMI_P99_MS', 100, 1, 60000)}`],
    'mcp_served{of:python}': [`p(99)<${setting('PYTHON_P99_MS', 500, 1, 60000)}`],
    ...Object.fromEntries(REPLICAS.map((replica) => [
      `mcp_share{replica:${replica}}`, [`rate>=${(FAIR * 0.98).toFixed(4)}`, `rate<=${(FAIR * 1.02).toFixed(4)}`],
    ])),
  },
};

export function setup() {
  const handles = launchMany(client, ENVIRONMENTS, 'import uuid; mine = str(uuid.uuid4())');
  const values = handles.map((id) => new Environment(client, id).python('mine').result.structuredContent.executionResult);
  begin();
  return { handles, values };
}

export function whoami() {
  countReplica(count(client.call('whoami', {}), 'whoami'));
}

export function python({ handles, values }) {
  const one = Math.floor(Math.random() * handles.length);
  const answer = count(new Environment(client, handles[one]).python('mine'), 'python');
  countReplica(answer);
  if (answer.kind !== 'done') return;
  check(answer, { 'the value is that environment\'s own': (it) => it.result.structuredContent.executionResult === values[one] });
}

// The shares are rates, so that a threshold can hold each of them.
function countReplica(answer) {
  for (const replica of REPLICAS) share.add(replica === answer.replica, { replica });
}

export function teardown({ handles }) {
  for (const id of handles) new Environment(client, id).close();
}

export function handleSummary(data) {
  return summary(data);
}
