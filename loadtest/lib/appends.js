// Calls that leave a mark: each appends its idempotency key to a file in its environment, so that afterwards the file
// tells what ran and how often. Each takes a while, so that some are under way whenever something is killed.

import { Counter } from 'k6/metrics';
import { Environment, launchMany } from './environment.js';
import { count } from './outcomes.js';
import { persistently } from './retry.js';

const FILE = '/workspace/appended';
const CALL_SECONDS = 0.3;
const MOST_NOTICES = 3;
const doubled = new Counter('append_doubled');
const interrupted = new Counter('append_interrupted');
// Acknowledged calls, less the lines found at the end.
const unaccounted = new Counter('append_unaccounted');

// Environments whose file was read to its end; an audit that stops halfway has found nothing doubled either.
const audited = new Counter('environments_audited');

export function exactlyOnce(environments) {
  return {
    append_doubled: ['count==0'],
    append_unaccounted: ['count==0'],
    environments_audited: [`count==${environments}`],
  };
}

export function launchForAppends(client, environments) {
  doubled.add(0);
  unaccounted.add(0);
  audited.add(0);
  return launchMany(client, environments, `open('${FILE}', 'a').close()`);
}

let appended = 0;

// One keyed call in the environment that belongs to this VU alone, sent again until its outcome is known.
export function append(client, handles) {
  const environment = new Environment(client, handles[(__VU - 1) % handles.length]);
  const key = `${__VU}-${(appended += 1)}`;
  const began = Date.now();
  const code = `with open('${FILE}', 'a') as f: f.write('${key}\\n')\nimport time; time.sleep(${CALL_SECONDS})`;
  const send = () => persistently((same) => environment.python(code, { key: same }), { key });
  let answer = send();
  for (let notices = 0; answer.kind === 'notice' && notices < MOST_NOTICES; notices += 1) {
    count(answer, 'append');
    answer = send();
  }
  if (answer.kind === 'done') unaccounted.add(1);
  if (answer.kind === 'unknown' && answer.result) return account(environment, key);
  return count(answer, 'append', began);
}

// The worker died in the middle of it and will never run it again: it has one line or none, which is looked up.
function account(environment, key) {
  interrupted.add(1);
  const found = persistently(() => environment.shell(`grep -cx '${key}' ${FILE} || true`));
  if (found.kind !== 'done') return count({ ...found, kind: 'failed' }, 'append');
  const lines = Number(found.result.structuredContent.stdout);
  unaccounted.add(Math.min(lines, 1));
  return found;
}

// Reads every file to its end; a notice that nobody has heard yet is heard here.
export function audit(client, handles) {
  for (const id of handles) {
    const environment = new Environment(client, id);
    const read = persistently(() => environment.shell(`wc -l < ${FILE}; sort -u ${FILE} | wc -l`));
    if (read.kind !== 'done') {
      count({ ...read, kind: 'failed' }, 'audit');
      continue;
    }
    const [lines, distinct] = read.result.structuredContent.stdout.trim().split('\n').map(Number);
    doubled.add(lines - distinct);
    unaccounted.add(-distinct);
    audited.add(1);
    environment.close();
  }
}
