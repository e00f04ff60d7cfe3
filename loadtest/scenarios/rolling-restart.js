// Every gateway and every worker is restarted, one after another, by SIGTERM under load: no call fails or is lost.
//
// A client sends again what was refused before it ran, and nothing else: no call here has a key. A restarted worker's
// environments have lost their interpreters and say so once each, which is counted apart and has to match.

import { Counter } from 'k6/metrics';
import { Client } from '../lib/client.js';
import { Environment, launchMany } from '../lib/environment.js';
import { count } from '../lib/outcomes.js';
import { persistently } from '../lib/retry.js';
import { OPTIONS, NOTHING_LOST, arrival, begin, setting } from '../lib/run.js';
import { summary } from '../lib/summary.js';

const SECONDS = setting('SECONDS', 70, 10, 3600);
const RATE = setting('RATE', 305, 1, 5000);
const CALLS = Math.floor(0.95 * RATE * SECONDS); // 20,000 in the full form
const ENVIRONMENTS = setting('ENVIRONMENTS', 48, 1, 90);

const gone = new Counter('environments_gone');
const audited = new Counter('environments_audited');
const client = new Client();

export const options = {
  ...OPTIONS,
  scenarios: { python: arrival('python', RATE, SECONDS, 8 * ENVIRONMENTS) },
  thresholds: {
    mcp_failed: NOTHING_LOST.mcp_failed,
    mcp_unknown: NOTHING_LOST.mcp_unknown,
    mcp_refused: ['count==0'],
    environments_gone: ['count==0'],
    environments_audited: [`count==${ENVIRONMENTS}`],
    mcp_notices: [`count==${ENVIRONMENTS}`],
    // Callers who wait for a worker are not free for the calls that come meanwhile.
    mcp_done: [`count>=${CALLS}`],
  },
};

export function setup() {
  gone.add(0);
  audited.add(0);
  const handles = launchMany(client, ENVIRONMENTS, "open('/workspace/kept', 'w').write('kept')");
  begin();
  return handles;
}

export function python(handles) {
  call(new Environment(client, handles[Math.floor(Math.random() * handles.length)]), 'python');
}

function call(environment, of) {
  const began = Date.now();
  const send = () => persistently(() => environment.python("open('/workspace/kept').read()"));
  let answer = send();
  if (answer.kind === 'notice') {
    count(answer, of);
    answer = send();
  }
  return count(answer, of, began);
}

// Each environment once more: a notice that nobody has heard yet is heard here, and the file is still there.
export function teardown(handles) {
  for (const id of handles) {
    const environment = new Environment(client, id);
    const answer = call(environment, 'audit');
    if (answer.kind !== 'done' || answer.result.structuredContent.executionResult !== "'kept'") gone.add(1);
    audited.add(1);
    environment.close();
  }
}

export function handleSummary(data) {
  return summary(data);
}
