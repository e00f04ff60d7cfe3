// Four times the load that fills every slot: nine tenths of the peak are still served, and the rest is told to come back.
//
// The gateways have few slots, so that these and not the processors are the limit. A call sleeps CALL_MS, so SLOTS of
// them can serve at most SLOTS / CALL_MS: four times that is at least four times the peak. All is measured in this run:
// one caller alone, then as many callers as keep every slot busy, then the flood at a constant rate.

import { sleep } from 'k6';
import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { OPTIONS, arrival, begin, happened, seen, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 60, 6, 3600);
const SLOTS = setting('SLOTS', 2, 1, 1000);
const CALL_MS = 10;
const RATE = setting('RATE', (4 * SLOTS * 1000) / CALL_MS, 1, 20000);
const ENVIRONMENTS = setting('ENVIRONMENTS', 60, 1, 90);
const LEAST_GOODPUT = setting('LEAST_GOODPUT', 0.9, 0.1, 1); // of the peak
const OVERLOAD = setting('LEAST_OVERLOAD', 3.6, 1, 100); // of what was served at the peak; a busy machine offers less
const SLOWER = setting('ADMITTED_P99_FACTOR', 3, 1, 1000);
const PHASE = SECONDS / 3;
const client = new Client();

const callers = (exec, vus, startTime) => ({ executor: 'constant-vus', exec, vus, duration: `${PHASE}s`, startTime: `${startTime}s` });

export const options = {
  ...OPTIONS,
  scenarios: {
    alone: callers('alone', 1, 0),
    peak: callers('peak', 3 * SLOTS, PHASE),
    flood: arrival('flood', RATE, PHASE, 400, { startTime: `${2 * PHASE}s` }),
  },
  thresholds: {
    ...happened('mcp_done{of:alone}', 'mcp_done{of:peak}', 'mcp_done{of:flood}', 'mcp_refused{of:flood}'),
    ...seen('mcp_served{of:alone}', 'mcp_served{of:peak}', 'mcp_served{of:flood}'),
    mcp_failed: ['count==0'],
    mcp_unknown: ['count==0'],
    mcp_refused_bare: ['count==0'],
    'mcp_refused{code:50301}': ['count>0'],
  },
};

export function setup() {
  const handles = launchMany(client, ENVIRONMENTS, 'import time');
  begin();
  return handles;
}

function call(handles, of) {
  const environment = new Environment(client, handles[Math.floor(Math.random() * handles.length)]);
  return count(environment.python(`time.sleep(${CALL_MS / 1000})`), of);
}

export const alone = (handles) => call(handles, 'alone');
export const flood = (handles) => call(handles, 'flood');

// One that was refused comes back at once: this phase asks how much can be served, not how politely.
export function peak(handles) {
  if (call(handles, 'peak').kind === 'refused') sleep(CALL_MS / 4000);
}

export function teardown(handles) {
  for (const id of handles) new Environment(client, id).close();
}

export function handleSummary(data) {
  return summary(data, (metric) => {
    const [most, flooded] = ['peak', 'flood'].map((of) => metric(`mcp_done{of:${of}}`).count / PHASE);
    const [alone, admitted] = ['alone', 'flood'].map((of) => metric(`mcp_served{of:${of}}`)['p(99)']);
    const [all, overloaded] = ['mcp_refused', 'mcp_refused{code:50301}'].map((it) => metric(it).count);
    const offered = (metric('mcp_done{of:flood}').count + metric('mcp_refused{of:flood}').count) / PHASE;
    return [
      [offered >= OVERLOAD * most, `${offered.toFixed(0)}/s were offered, ${(offered / most).toFixed(1)} times the peak`],
      [flooded >= LEAST_GOODPUT * most, `goodput ${flooded.toFixed(0)}/s of a peak of ${most.toFixed(0)}/s (at least ${100 * LEAST_GOODPUT} %)`],
      [admitted <= SLOWER * alone, `admitted p99 ${admitted.toFixed(1)} ms, alone ${alone.toFixed(1)} ms (at most ${SLOWER} times)`],
      [all === overloaded, `${overloaded} of ${all} refusals are 50301`],
    ];
  });
}
