// Constant arrival of short tool calls at replicas behind a round robin: no call may fail, and each replica must have
// its share. `whoami` shows the gateway alone; Python in environments made beforehand shows gateway, rpc and sandbox,
// each call on whatever replica its turn gives.
//
// loadtest/run starts everything and sets: MCP_URL, MCP_KEY, MCP_REPLICAS (comma-separated ids).
// WHOAMI_RATE and PYTHON_RATE are calls per second, DURATION_SECONDS the length, ENVIRONMENTS how many are made.

import { check } from 'k6';
import { Mcp } from './mcp.js';
import { summary } from './summary.js';

const SECONDS = bounded('DURATION_SECONDS', 20, 1, 600);
const WHOAMI_RATE = bounded('WHOAMI_RATE', 300, 1, 20000);
const PYTHON_RATE = bounded('PYTHON_RATE', 60, 1, 5000);
const ENVIRONMENTS = bounded('ENVIRONMENTS', 12, 1, 90);
const REPLICAS = (__ENV.MCP_REPLICAS || '').split(',').filter(Boolean);
const FAIR = 1 / Math.max(REPLICAS.length, 1);

const mcp = new Mcp(__ENV.MCP_URL, __ENV.MCP_KEY, REPLICAS);

export const options = {
  scenarios: {
    whoami: arrival('whoami', WHOAMI_RATE, 40),
    python: arrival('python', PYTHON_RATE, 2 * ENVIRONMENTS),
  },
  thresholds: {
    'iterations{scenario:whoami}': ['count>0'],
    'iterations{scenario:python}': ['count>0'],
    mcp_protocol_errors: ['count==0'],
    mcp_tool_errors: ['count==0'],
    dropped_iterations: ['count==0'],
    checks: ['rate==1'],
    'http_req_duration{scenario:whoami}': [`p(99)<${bounded('WHOAMI_P99_MS', 100, 1, 60000)}`],
    'http_req_duration{scenario:python}': [`p(99)<${bounded('PYTHON_P99_MS', 500, 1, 60000)}`],
    ...Object.fromEntries(REPLICAS.flatMap((replica) => [
      [`mcp_instance_share{replica:${replica}}`, [`rate>=${FAIR * 0.98}`, `rate<=${FAIR * 1.02}`]],
      [`mcp_instance_hits{replica:${replica}}`, ['count>0']],
    ])),
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

function arrival(exec, rate, preAllocatedVUs) {
  return {
    executor: 'constant-arrival-rate', exec, rate, timeUnit: '1s', duration: `${SECONDS}s`,
    preAllocatedVUs, maxVUs: 4 * preAllocatedVUs, gracefulStop: '30s',
  };
}

function bounded(name, standard, least, most) {
  const value = Number(__ENV[name] || standard);
  if (!(value >= least && value <= most)) throw new Error(`${name} must be between ${least} and ${most}`);
  return value;
}

export function setup() {
  const handles = [];
  for (let i = 0; i < ENVIRONMENTS; i += 1) {
    const launched = mcp.tool('launchShell', {}, { phase: 'setup' });
    if (!launched) throw new Error('no environment to test with');
    const environmentId = launched.structuredContent.environmentId;
    const started = mcp.tool('runPythonCodeInRemoteEnvironment', { environmentId, pythonCode: `mine = ${i}` });
    if (!started) throw new Error('the environment does not run Python');
    handles.push(environmentId);
  }
  return { handles };
}

export function whoami() {
  const result = mcp.tool('whoami', {});
  if (result) mcp.countReplica(result);
}

export function python({ handles }) {
  const mine = Math.floor(Math.random() * handles.length);
  const result = mcp.tool('runPythonCodeInRemoteEnvironment', { environmentId: handles[mine], pythonCode: 'mine + 1' });
  if (!result) return;
  mcp.countReplica(result);
  check(result, { 'the value is that environment\'s own': (r) => String(r.structuredContent.executionResult) === String(mine + 1) });
}

export function teardown({ handles }) {
  for (const environmentId of handles) mcp.tool('closeEnvironment', { environmentId });
}

export function handleSummary(data) {
  return summary(data, REPLICAS);
}
