// Signing keys and the workers' root key are exchanged under load: no valid handle is refused, and every retired one is.
//
// No caller keeps an environment longer than LIFE_SECONDS, and the old key is retired only when that has passed, as
// operators wait --max-life-seconds. The witnesses keep theirs beyond it.

import { Counter } from 'k6/metrics';
import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { persistently } from '../lib/retry.js';
import { OPTIONS, NOTHING_LOST, arrival, begin, happened, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 120, 30, 3600);
const RATE = setting('RATE', 80, 1, 5000);
const LIFE_SECONDS = setting('LIFE_SECONDS', 5, 1, 3600);
const WITNESSES = setting('WITNESSES', 10, 1, 50);
const CALLERS = 40;

const retiredRefused = new Counter('retired_refused');
const retiredServed = new Counter('retired_served');
const client = new Client();

export const options = {
  ...OPTIONS,
  scenarios: { python: arrival('python', RATE, SECONDS, CALLERS) },
  thresholds: {
    mcp_failed: NOTHING_LOST.mcp_failed,
    mcp_unknown: NOTHING_LOST.mcp_unknown,
    mcp_refused: ['count==0'],
    ...happened('mcp_done{of:python}', 'mcp_done{of:launch}'),
    retired_refused: [`count==${WITNESSES}`],
    retired_served: ['count==0'],
  },
};

export function setup() {
  retiredServed.add(0);
  const witnesses = launchMany(client, WITNESSES);
  begin();
  return witnesses;
}

let mine = null;
let until = 0;

export function python() {
  if (mine && Date.now() > until) {
    count(persistently(() => mine.close()), 'close');
    mine = null;
  }
  if (!mine) {
    const launched = count(persistently(() => client.call('launchShell', {})), 'launch');
    if (launched.kind !== 'done') return;
    mine = new Environment(client, launched.result.structuredContent.environmentId);
    until = Date.now() + 1000 * LIFE_SECONDS * (0.5 + Math.random() / 2); // not all at once
  }
  const began = Date.now();
  let answer = persistently(() => mine.python('1'));
  if (answer.kind === 'notice') {
    count(answer, 'python');
    answer = persistently(() => mine.python('1'));
  }
  count(answer, 'python', began);
}

// By now the old keys are gone everywhere.
export function teardown(witnesses) {
  for (const id of witnesses) {
    const answer = persistently(() => new Environment(client, id).shell('true'));
    const refused = answer.kind === 'failed' && answer.executed === 'no';
    (refused ? retiredRefused : retiredServed).add(1);
  }
}

export function handleSummary(data) {
  return summary(data);
}
